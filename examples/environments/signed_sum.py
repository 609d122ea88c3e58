"""Add or subtract numbers by their parity."""


class SignedSum:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        numbers = [rng.randint(1, 9 + 10 * level) for _ in range(4 + level)]
        return {"numbers": numbers}, {}

    def render(self, public):
        shown = ", ".join(str(x) for x in public["numbers"])
        return (
            f"Numbers: {shown}. Start at 0. For each number from left to right: add it if it is even, "
            "subtract it if it is odd. What is the final value?"
        )

    def reference(self, public, private):
        total = 0
        for x in public["numbers"]:
            total += x if x % 2 == 0 else -x
        return str(total)

    def verify(self, public, answer, reference):
        try:
            return 1.0 if int(answer) == int(reference) else 0.0
        except ValueError:
            return 0.0
