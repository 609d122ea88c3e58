"""The seed grid_paths against a brute force of its own."""

import re
from itertools import combinations


def walked_paths(rows):
    """Tries every order of right and down steps."""
    downs, rights = len(rows) - 1, len(rows[0]) - 1
    paths = 0
    for places in combinations(range(downs + rights), downs):
        row = column = 0
        for step in range(downs + rights):
            row, column = (row + 1, column) if step in places else (row, column + 1)
            if rows[row][column] == "x":
                break
        else:
            paths += 1
    return paths


def test_reference_counts_the_paths(small_cases):
    for _, case in small_cases("grid_paths", levels=range(5), count=20):
        rows = re.findall(r"^[A-Zox]+$", case.prompt, re.MULTILINE)
        assert (rows[0][0], rows[-1][-1]) == re.search(r"from ([A-Z]) to ([A-Z])", case.prompt).groups()
        paths = walked_paths(rows)
        assert paths > 0
        modulus = re.search(r"N modulo (\d+)", case.prompt)
        assert case.reference == str(paths % int(modulus.group(1)) if modulus else paths), case.prompt
