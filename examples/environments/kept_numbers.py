"""The numbers of a list that pass a test, in order."""


class KeptNumbers:
    family = "compute"
    answer_type = "ints"
    answer_format = "the kept numbers in order, separated by spaces"
    max_level = 9

    def generate(self, rng, level):
        numbers = [rng.randint(1, 20 + 8 * level) for _ in range(3 + level)]
        limit = rng.randint(3, max(numbers) - 1) if max(numbers) > 4 else 1
        return {"numbers": numbers, "limit": limit}, {}

    def render(self, public):
        shown = " ".join(str(x) for x in public["numbers"])
        return (
            f"Numbers: {shown}\nGo from left to right. Keep a number if it is greater than {public['limit']} "
            "and greater than the number kept before it. Which numbers are kept?"
        )

    def reference(self, public, private):
        kept = []
        for x in public["numbers"]:
            if x > public["limit"] and (not kept or x > kept[-1]):
                kept.append(x)
        return " ".join(str(x) for x in kept)

    def verify(self, public, answer, reference):
        return 1.0 if answer.replace(",", " ").split() == reference.split() else 0.0
