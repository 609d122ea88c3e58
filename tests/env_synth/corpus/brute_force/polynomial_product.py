import re
from fractions import Fraction


def polynomial(text):
    found = {}
    for sign, size, x, power in re.findall(r"([+-]?) ?(\d*)(x?)(?:\^(\d+))?", text):
        if size or x:
            degree = int(power) if power else 1 if x else 0
            found[degree] = found.get(degree, 0) + int(sign + (size or "1"))
    return found


def solve(prompt):
    """Values at many points, then interpolation."""
    factors = [polynomial(text) for text in re.findall(r"\(([^)]*)\)", prompt.splitlines()[0])]
    degree = sum(max(factor) for factor in factors)
    points = list(range(degree + 1))
    values = []
    for x in points:
        value = 1
        for factor in factors:
            value *= sum(number * x**power for power, number in factor.items())
        values.append(value)
    result = [Fraction(0)] * (degree + 1)
    for i, x in enumerate(points):
        basis = [Fraction(values[i])]
        for other in points:
            if other != x:
                shifted = [Fraction(0), *basis]
                for power, number in enumerate(basis):
                    shifted[power] -= other * number
                basis = [number / (x - other) for number in shifted]
        result = [a + b for a, b in zip(result, basis)]
    return " ".join(str(number) for number in reversed(result))
