"""The sum of a list without its first number."""


class AllButFirst:
    family = "compute"
    answer_type = "int"
    answer_format = "a short calculation, then one integer"
    max_level = 9
    question = "Look at a list of numbers. Leave out the first and add up the others. What is the sum?"

    def reference(self, public, private) -> str:
        total = 0
        for place, x in enumerate(public["numbers"]):
            if place > 0:
                total += x
        return str(total)

    def generate(self, rng, level):
        numbers = [rng.randint(1, 9 + 4 * level) for _ in range(3 + level)]
        return {"numbers": numbers}, {}

    def render(self, public):
        shown = ", ".join(str(x) for x in public["numbers"])
        return f"Look at the numbers {shown}. Leave out the first and add up the others. What is the sum?"

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip() == reference else 0.0
