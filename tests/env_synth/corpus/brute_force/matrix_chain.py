import re


def solve(prompt):
    shapes = [(int(a), int(b)) for a, b in re.findall(r"A\d+ is (-?\d+)x(-?\d+)", prompt)]

    def cheapest(chain):
        if len(chain) == 1:
            return 0
        found = []
        for place in range(len(chain) - 1):
            (a, b), (_, c) = chain[place : place + 2]
            found.append(a * b * c + cheapest([*chain[:place], (a, c), *chain[place + 2 :]]))
        return min(found)

    return str(cheapest(shapes))
