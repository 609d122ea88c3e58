"""The numbers of a list above a limit, added up."""


class KeptNumbers:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        numbers = [rng.randint(1, 15 + 5 * level) for _ in range(2 + level)]
        limit = rng.randint(3, 8 + 3 * level)
        return {"numbers": numbers, "limit": limit}, {}

    def render(self, public):
        shown = ", ".join(str(x) for x in public["numbers"])
        return (
            f"Look at the numbers {shown}. "
            f"Take only those that are greater than {public['limit']} and add them up. What is the sum?"
        )

    def reference(self, public, private):
        total = 0
        for x in public["numbers"]:
            if x > public["limit"]:
                total += x
        return str(total)

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip() == reference else 0.0
