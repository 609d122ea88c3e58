import re


def solve(prompt):
    cells = {i: int(bit) for i, bit in enumerate(re.search(r"holds the bits ([01]+);", prompt)[1], 1)}
    taps = [int(n) for n in re.findall(r"\d+", re.search(r"bits in cells ([0-9 and-]+) \(", prompt)[1])]
    size, output = len(cells), []
    for _ in range(int(re.search(r"output in (-?\d+) steps", prompt)[1])):
        output.append(str(cells[size]))
        new = sum(cells[tap] for tap in taps) % 2
        cells = {1: new} | {i: cells[i - 1] for i in range(2, size + 1)}
    return "".join(output)
