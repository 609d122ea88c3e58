import re


def solve(prompt):
    cells = set()
    for x1, y1, x2, y2 in re.findall(r"from \((-?\d+), (-?\d+)\) to \((-?\d+), (-?\d+)\)", prompt):
        cells |= {(x, y) for x in range(int(x1), int(x2)) for y in range(int(y1), int(y2))}
    return str(len(cells))
