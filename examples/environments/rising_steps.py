"""How far a list of numbers rises in all."""


class RisingSteps:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        numbers = [rng.randint(1, 20 + 5 * level) for _ in range(2 + level)]
        return {"numbers": numbers}, {}

    def render(self, public):
        shown = ", ".join(str(x) for x in public["numbers"])
        return (
            f"Look at the numbers {shown}. "
            "When a number is greater than the one before it, note by how much. What is the sum of your notes?"
        )

    def reference(self, public, private):
        numbers = public["numbers"]
        total = 0
        for i in range(1, len(numbers)):
            if numbers[i] > numbers[i - 1]:
                total += numbers[i] - numbers[i - 1]
        return str(total)

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip() == reference else 0.0
