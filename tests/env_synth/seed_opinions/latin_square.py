import re


def check(text, answer):
    rows = [line.split() for line in text.split("\n") if re.fullmatch(r"(?:[0-9]+|_)(?: (?:[0-9]+|_))+", line)]
    numbers = re.findall(r"[0-9]+", re.search(r"must hold (.*) once", text)[1])
    blanks = [(row, column) for row in range(len(rows)) for column in range(len(rows)) if rows[row][column] == "_"]
    parts = answer.split()
    if len(parts) != len(blanks):
        return False
    for (row, column), part in zip(blanks, parts, strict=True):
        rows[row][column] = part
    columns = [[row[column] for row in rows] for column in range(len(rows))]
    return all(sorted(line) == sorted(numbers) for line in rows + columns)
