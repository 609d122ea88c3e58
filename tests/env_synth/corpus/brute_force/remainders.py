import re


def solve(prompt):
    conditions = [(int(m), int(r)) for m, r in re.findall(r"x mod (-?\d+) = (-?\d+)", prompt)]
    x = 0
    while any(x % m != r for m, r in conditions):
        x += 1
        if x > 3_000_000:
            raise ValueError("no solution found")
    return str(x)
