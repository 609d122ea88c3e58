"""The seed edit_distance against a brute force of its own."""

import re
from itertools import combinations


def cheapest_alignment(source, target, insert, delete, change):
    """Tries every way to pair letters of the two words in order; unpaired letters are deleted or inserted."""
    best = None
    for paired in range(min(len(source), len(target)) + 1):
        unpaired = (len(source) - paired) * delete + (len(target) - paired) * insert
        for kept in combinations(source, paired):
            for wanted in combinations(target, paired):
                cost = unpaired + sum(change for old, new in zip(kept, wanted, strict=True) if old != new)
                best = cost if best is None else min(best, cost)
    return best


def test_reference_is_the_cheapest_alignment(small_cases):
    for _, case in small_cases("edit_distance", count=12):
        insert, delete, change = map(int, re.findall(r"costs (\d+)", case.prompt))
        source, target = re.search(r"turn (\w+) into (\w+)\?", case.prompt).groups()
        assert case.reference == str(cheapest_alignment(source, target, insert, delete, change)), case.prompt


def test_costs_are_not_interchangeable(load_seed):
    environment = load_seed("edit_distance")
    assert environment.reference({"source": "ab", "target": "abc", "costs": [5, 7, 9]}, {}) == "5"
    assert environment.reference({"source": "abc", "target": "ab", "costs": [5, 7, 9]}, {}) == "7"
    assert environment.reference({"source": "abc", "target": "axc", "costs": [5, 7, 9]}, {}) == "9"
    assert environment.reference({"source": "abc", "target": "axc", "costs": [1, 2, 9]}, {}) == "3"
