import re


def solve(prompt):
    rows = [line for line in prompt.splitlines() if re.fullmatch(r"[#.]+", line)]
    island = {(y, x): {(y, x)} for y, row in enumerate(rows) for x, cell in enumerate(row) if cell == "#"}
    for y, x in list(island):
        for other in ((y + 1, x), (y, x + 1)):
            if other in island and island[other] is not island[y, x]:
                merged = island[other] | island[y, x]
                for cell in merged:
                    island[cell] = merged
    return str(sum(len(cells) for cells in island.values()))
