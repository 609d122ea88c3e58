import re


def solve(text):
    height = int(re.search(r"Grid of ([0-9]+) rows", text)[1])
    rows = text.split("\n")[1 : 1 + height]
    steps = [(0, 1), (1, 0), (1, 1)] if "diagonally" in text else [(0, 1), (1, 0)]

    def count(row, column):
        if row >= len(rows) or column >= len(rows[0]) or rows[row][column] == "x":
            return 0
        if (row, column) == (len(rows) - 1, len(rows[0]) - 1):
            return 1
        return sum(count(row + down, column + right) for down, right in steps)

    modulus = re.search(r"modulo ([0-9]+)", text)
    total = count(0, 0)
    return str(total % int(modulus[1]) if modulus else total)
