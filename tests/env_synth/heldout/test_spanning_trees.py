"""The held-out family spanning_trees against a brute force that reads the prompt alone."""

import re
from itertools import combinations
from math import prod


def choices(count, cables):
    """Tries every set of count - 1 pairs and keeps those that link everything."""
    total = 0
    for chosen in combinations(cables, count - 1):
        linked = {chosen[0][0]}
        for _ in chosen:
            linked |= {end for first, second, _ in chosen if {first, second} & linked for end in (first, second)}
        total += prod(number for _, _, number in chosen) if len(linked) == count else 0
    return total


def read(prompt):
    named = re.findall(r"(\d+) (?:different cables )?from (\w) to (\w)", prompt)
    if named:
        return 3, [(first, second, int(number)) for number, first, second in named], None
    cables = [(first, second, int(number)) for first, second, number in re.findall(r"(\d+)-(\d+): (\d+)", prompt)]
    modulus = re.search(r"N modulo (\d+)", prompt)
    return int(re.search(r"1 to (\d+)", prompt)[1]), cables, modulus and int(modulus[1])


def test_reference_counts_the_choices(family):
    for case in family("spanning_trees").cases(range(5), 10):
        count, cables, modulus = read(case.prompt)
        total = choices(count, cables)
        assert total > 0
        assert case.reference == str(total % modulus if modulus else total), case.prompt


def test_a_ring_and_a_complete_graph(family):
    environment = family("spanning_trees").environment
    ring = {"computers": 5, "cables": [[1, 2, 1], [2, 3, 1], [3, 4, 1], [4, 5, 1], [1, 5, 1]], "modulus": 0}
    complete = {"computers": 6, "cables": [[a, b, 1] for b in range(2, 7) for a in range(1, b)], "modulus": 1000}
    assert environment.reference(ring, {}) == "5"
    assert environment.reference(complete, {}) == str(6**4 % 1000)  # Cayley: n to the power n - 2
