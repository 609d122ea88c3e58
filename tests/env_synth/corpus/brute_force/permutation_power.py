import re


def solve(prompt):
    values = re.search(r"A list: ([0-9 -]+)\.", prompt)[1].split()
    moves = [(int(a), int(b)) for a, b in re.findall(r"position (-?\d+) gets what stood at position (-?\d+)", prompt)]
    for _ in range(int(re.search(r"after (-?\d+) rounds", prompt)[1])):
        before = dict(enumerate(values))
        for place, source in moves:
            values[place] = before[source]
    return " ".join(values)
