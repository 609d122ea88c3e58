"""The sum of a start and a list of numbers, doubled."""


class DoubledTotal:
    family = "compute"
    answer_type = "int"
    answer_format = "a short calculation, then one integer"
    max_level = 9
    question = "Look at a list of numbers and a start. Add the numbers to the start and double the result. What is it?"

    def reference(self, public, private) -> str:
        total = public["start"]
        for x in public["numbers"]:
            total += x
        return str(2 * total)

    def generate(self, rng, level):
        numbers = [rng.randint(1, 9 + 3 * level) for _ in range(1 + level)]
        start = rng.randint(1, 9 + 3 * level)
        return {"numbers": numbers, "start": start}, {}

    def render(self, public):
        shown = ", ".join(str(x) for x in public["numbers"])
        return (
            f"Look at the numbers {shown} and the start {public['start']}. "
            "Add the numbers to the start and double the result. What is it?"
        )

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip() == reference else 0.0
