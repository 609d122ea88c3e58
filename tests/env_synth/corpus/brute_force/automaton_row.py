import re


def solve(prompt):
    cells = re.search(r"ring of cells: ([01]+)", prompt)[1]
    table = dict(re.findall(r"([01]{3}) gives ([01])", prompt))
    for _ in range(int(re.search(r"after (-?\d+) step", prompt)[1])):
        wrapped = cells[-1] + cells + cells[0]
        cells = "".join(table[wrapped[i : i + 3]] for i in range(len(cells)))
    return cells
