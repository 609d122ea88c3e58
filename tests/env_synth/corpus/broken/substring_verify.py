class Josephus:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 8

    def generate(self, rng, level):
        n = rng.randint(5 + 6 * level, 12 + 14 * level)
        return {"n": n, "k": rng.randint(2, 4 + 3 * level)}, {}

    def render(self, public):
        return (
            f"{public['n']} people numbered 1 to {public['n']} stand in a circle. Counting starts at person 1. "
            f"Every {public['k']}-th person counted is removed, and counting goes on with the next remaining person. "
            "What is the number of the last person left?"
        )

    def reference(self, public, private):
        place = 0
        for size in range(2, public["n"] + 1):
            place = (place + public["k"]) % size
        return str(place + 1)

    def verify(self, public, answer, reference):
        return 1.0 if reference in answer else 0.0
