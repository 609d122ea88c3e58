"""Numbers that are added and subtracted in turn."""


class AlternateSigns:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        numbers = [rng.randint(1, 15 + 3 * level) for _ in range(2 + level)]
        return {"numbers": numbers}, {}

    def render(self, public):
        shown = ", ".join(str(x) for x in public["numbers"])
        return f"Look at the numbers {shown}. Add the first, subtract the second, add the third and so on. What is the result?"

    def reference(self, public, private):
        total = 0
        for place, x in enumerate(public["numbers"]):
            if place % 2 == 0:
                total += x
            else:
                total -= x
        return str(total)

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip() == reference else 0.0
