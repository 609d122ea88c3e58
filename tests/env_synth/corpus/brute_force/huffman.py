import re
from functools import cache
from itertools import combinations


@cache
def cheapest(weights):
    if len(weights) < 2:
        return 0
    found = []
    for i, j in combinations(range(len(weights)), 2):
        rest = [weight for place, weight in enumerate(weights) if place not in (i, j)]
        merged = weights[i] + weights[j]
        found.append(merged + cheapest(tuple(sorted([*rest, merged]))))
    return min(found)


def solve(prompt):
    return str(cheapest(tuple(sorted(int(n) for n in re.findall(r"occurs (-?\d+) times", prompt)))))
