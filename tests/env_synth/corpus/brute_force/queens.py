import re


def check(prompt, answer):
    size = int(re.match(r"Place (-?\d+) queens", prompt)[1])
    given = {int(r): int(c) for r, c in re.findall(r"Row (\d+) has its queen in column (\d+)", prompt)}
    columns = answer.replace(",", " ").split()
    if len(columns) != size or not all(re.fullmatch(r"\d{1,3}", column) for column in columns):
        return False
    places = [(row, int(column)) for row, column in enumerate(columns, 1)]
    if any(not 1 <= column <= size or given.get(row, column) != column for row, column in places):
        return False
    return not any(
        c == d or abs(r - s) == abs(c - d) for r, c in places for s, d in places if r < s
    )
