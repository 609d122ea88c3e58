"""The sum of a list after 1 is added to every number."""


class OneMoreEach:
    family = "compute"
    answer_type = "int"
    answer_format = "a short calculation, then one integer"
    max_level = 9
    question = "Look at a list of numbers. Add 1 to each of them, then add them up. What is the sum?"

    def reference(self, public, private) -> str:
        total = 0
        for x in public["numbers"]:
            total += x + 1
        return str(total)

    def generate(self, rng, level):
        numbers = [rng.randint(1, 9 + 4 * level) for _ in range(2 + level)]
        return {"numbers": numbers}, {}

    def render(self, public):
        shown = ", ".join(str(x) for x in public["numbers"])
        return f"Look at the numbers {shown}. Add 1 to each of them, then add them up. What is the sum?"

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip() == reference else 0.0
