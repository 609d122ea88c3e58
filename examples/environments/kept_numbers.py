"""The numbers of a list above a limit, added up."""


class KeptNumbers:
    family = "compute"
    answer_type = "int"
    answer_format = "a short calculation, then one integer"
    max_level = 9
    question = "Look at a list of numbers. Take only those that are greater than a limit and add them up. What is the sum?"

    def reference(self, public, private) -> str:
        total = 0
        for x in public["numbers"]:
            if x > public["limit"]:
                total += x
        return str(total)

    def generate(self, rng, level):
        numbers = [rng.randint(1, 9 + 5 * level) for _ in range(2 + level)]
        limit = rng.randint(2, 5 + 3 * level)
        return {"numbers": numbers, "limit": limit}, {}

    def render(self, public):
        shown = ", ".join(str(x) for x in public["numbers"])
        return (
            f"Look at the numbers {shown}. "
            f"Take only those that are greater than {public['limit']} and add them up. What is the sum?"
        )

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip() == reference else 0.0
