class IndexHops:
    family = "compute"
    answer_type = "ints"
    answer_format = "the visited numbers in order, separated by spaces"
    max_level = 9

    def generate(self, rng, level):
        size = 6 + 2 * level
        return {"values": [rng.randint(1, size) for _ in range(size)], "hops": 4 + level}, {}

    def render(self, public):
        return (
            f"A list of numbers, with positions counted from 0: {' '.join(map(str, public['values']))}. Start at the first number. The number where you "
            f"stand is the position you go to next (a position past the end starts over from the beginning). Write the {public['hops']} numbers "
            "on which you stand, the first one included."
        )

    def reference(self, public, private):
        place, seen = 1, []
        for _ in range(public["hops"]):
            value = public["values"][place - 1]
            seen.append(str(value))
            place = value
        return " ".join(seen)

    def verify(self, public, answer, reference):
        return 1.0 if answer.replace(",", " ").split() == reference.split() else 0.0
