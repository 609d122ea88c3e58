"""The largest sum of two neighbours in a list."""


class LargestSum:
    family = "compute"
    answer_type = "int"
    answer_format = "a short calculation, then one integer"
    max_level = 9
    question = "Look at a list of numbers. Add every number to the one behind it. What is the largest of these sums?"

    def reference(self, public, private) -> str:
        numbers = public["numbers"]
        best = 0
        for i in range(1, len(numbers)):
            if numbers[i] + numbers[i - 1] > best:
                best = numbers[i] + numbers[i - 1]
        return str(best)

    def generate(self, rng, level):
        numbers = [rng.randint(1, 9 + 4 * level) for _ in range(2 + level)]
        return {"numbers": numbers}, {}

    def render(self, public):
        shown = ", ".join(str(x) for x in public["numbers"])
        return f"Look at the numbers {shown}. Add every number to the one behind it. What is the largest of these sums?"

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip() == reference else 0.0
