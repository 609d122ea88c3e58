import re


def solve(prompt):
    towns = int(re.match(r"Towns 0 to (-?\d+)", prompt)[1]) + 1
    roads = [tuple(map(int, road)) for road in re.findall(r"^(\d+) - (\d+): (-?\d+)$", prompt, re.M)]
    reached, total = {0}, 0
    while len(reached) < towns:
        length, new = min((length, {a, b} - reached) for a, b, length in roads if len({a, b} & reached) == 1)
        total += length
        reached |= new
    return str(total)
