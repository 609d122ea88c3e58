import re
from itertools import combinations


def solve(prompt):
    values = [int(n) for n in re.search(r"sequence ([0-9, -]+)\.", prompt)[1].split(",")]
    best = 0
    for size in range(1, len(values) + 1):
        for chosen in combinations(values, size):
            if all(a < b for a, b in zip(chosen, chosen[1:])):
                best = max(best, sum(chosen))
    return str(best)
