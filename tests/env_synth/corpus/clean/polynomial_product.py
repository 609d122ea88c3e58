import re


def multiply(a, b):
    product = [0] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            product[i + j] += x * y
    return product


def shown(polynomial):
    parts = []
    for power in range(len(polynomial) - 1, -1, -1):
        number = polynomial[power]
        if number:
            sign = "-" if number < 0 else "+"
            factor = "" if power == 0 else "x" if power == 1 else f"x^{power}"
            size = str(abs(number)) if abs(number) != 1 or power == 0 else ""
            parts.append(f"{sign} {size}{factor}")
    text = " ".join(parts)
    return text[2:] if text.startswith("+ ") else text.replace("- ", "-", 1)


class PolynomialProduct:
    family = "compute"
    answer_type = "ints"
    answer_format = "all coefficients from the highest power down to the constant, separated by spaces"
    max_level = 9

    def generate(self, rng, level):
        factors = []
        for _ in range(2 + level // 3):
            degree = 1 + (level + 1) // 2
            factor = [rng.randint(-9, 9) for _ in range(degree)]
            factors.append(factor + [rng.choice([-3, -2, -1, 1, 2, 3])])
        return {"factors": factors}, {}

    def render(self, public):
        factors = " * ".join(f"({shown(factor)})" for factor in public["factors"])
        return (
            f"Expand {factors}.\nList the coefficients of the expanded polynomial, from the highest power of x down to the constant term, "
            "zeros included."
        )

    def reference(self, public, private):
        product = [1]
        for factor in public["factors"]:
            product = multiply(product, factor)
        return " ".join(str(number) for number in reversed(product))

    def verify(self, public, answer, reference):
        parts = answer.strip("[] ()\n").replace(",", " ").split()
        if not parts or not all(re.fullmatch(r"[+-]?[0-9]{1,15}", part) for part in parts):
            return 0.0
        return 1.0 if [int(part) for part in parts] == [int(part) for part in reference.split()] else 0.0
