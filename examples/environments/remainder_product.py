"""The remainder of a product that is made number by number."""


class RemainderProduct:
    family = "compute"
    answer_type = "int"
    answer_format = "a short calculation, then one integer"
    max_level = 9
    question = "Look at a list of numbers. Multiply them all and divide the product by 97. What is the remainder?"

    def reference(self, public, private) -> str:
        product = 1
        for x in public["numbers"]:
            product = product * x % 97
        return str(product)

    def generate(self, rng, level):
        numbers = [rng.randint(1, 9 + 2 * level) for _ in range(2 + level)]
        return {"numbers": numbers}, {}

    def render(self, public):
        shown = ", ".join(str(x) for x in public["numbers"])
        return f"Look at the numbers {shown}. Multiply them all and divide the product by 97. What is the remainder?"

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip() == reference else 0.0
