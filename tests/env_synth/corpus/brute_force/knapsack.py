import re
from itertools import product


def solve(prompt):
    items = [(int(w), int(v)) for w, v in re.findall(r"weight (-?\d+), value (-?\d+)", prompt)]
    limit = int(re.search(r"at most (-?\d+):", prompt)[1])
    best = 0
    for taken in product((0, 1), repeat=len(items)):
        if sum(t * w for t, (w, _) in zip(taken, items)) <= limit:
            best = max(best, sum(t * v for t, (_, v) in zip(taken, items)))
    return str(best)
