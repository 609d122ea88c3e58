import re
from itertools import permutations


def solve(prompt):
    letters = re.search(r"of the letters ([a-z](?: [a-z])*) \(", prompt)[1].split()
    return sorted({"".join(p) for p in permutations(letters)})[int(re.search(r"number (-?\d+)\?", prompt)[1]) - 1]
