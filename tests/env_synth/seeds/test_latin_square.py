"""The seed latin_square against a brute force of its own."""

import re
from itertools import product


def read(prompt):
    lines = re.findall(r"^[\d_]+(?: [\d_]+)+$", prompt, re.MULTILINE)
    return [[0 if cell == "_" else int(cell) for cell in line.split()] for line in lines]


def numbers_of(prompt):
    return [int(number) for number in re.findall(r"\d+", re.search(r"must hold (.+) once", prompt).group(1))]


def completions(rows, numbers):
    """Every completion, by depth-first search over the blanks in reading order."""
    order = len(rows)
    blanks = [(r, c) for r in range(order) for c in range(order) if rows[r][c] == 0]
    found = []

    def fill(place, values):
        if place == len(blanks):
            found.append(" ".join(map(str, values)))
            return
        row, column = blanks[place]
        for value in numbers:
            if value not in rows[row] and value not in [line[column] for line in rows]:
                rows[row][column] = value
                fill(place + 1, [*values, value])
                rows[row][column] = 0

    fill(0, [])
    return found


def test_exactly_the_completions_are_accepted(small_cases):
    for environment, case in small_cases("latin_square", count=6, levels=range(3)):
        rows = read(case.prompt)
        numbers = numbers_of(case.prompt)
        valid = set(completions(rows, numbers))
        blanks = sum(row.count(0) for row in rows)
        for values in product(numbers, repeat=blanks):
            answer = " ".join(map(str, values))
            assert environment.verify(case.public, answer, None) == (1.0 if answer in valid else 0.0)


def test_all_completions_of_larger_squares_are_accepted(small_cases):
    several = 0
    for environment, case in small_cases("latin_square", count=12, levels=(3, 4)):
        valid = completions(read(case.prompt), numbers_of(case.prompt))
        several += len(valid) > 1
        assert case.reference in valid
        assert all(environment.verify(case.public, answer, None) == 1.0 for answer in valid)
    assert several >= 1


def test_squares_are_not_all_alike(small_cases):
    firsts = {tuple(case.public["rows"][0]) for _, case in small_cases("latin_square", count=30, levels=(4,))}
    assert len(firsts) >= 28
