"""The held-out family wheel_odds against a brute force that reads the prompt alone."""

import re
from fractions import Fraction
from itertools import product


def chance(wheels, limit):
    """Tries every combination."""
    sums = [sum(numbers) for numbers in product(*wheels)]
    return Fraction(sum(total > limit for total in sums), len(sums))


def read(prompt):
    shown = re.search(r"has the numbers ([\d ]+),", prompt)
    lines = [shown[1]] if shown else re.findall(r"^[\d ]+$", prompt, re.MULTILINE)
    return [[int(number) for number in line.split()] for line in lines], int(re.search(r"above (\d+)", prompt)[1])


def test_reference_is_the_share_of_all_combinations(family):
    for case in family("wheel_odds").cases(range(5), 12):
        found = chance(*read(case.prompt))
        assert 0 < found < 1
        assert case.reference == f"{found.numerator} {found.denominator}", case.prompt


def test_the_fraction_may_be_written_with_a_stroke_but_must_be_in_lowest_terms(family):
    environment = family("wheel_odds").environment
    public = {"wheels": [[1, 2], [1, 2]], "limit": 3}
    assert environment.reference(public, {}) == "1 4"
    for right in ("1 4", "1/4", "1, 4", "[1, 4]"):
        assert environment.verify(public, right, "1 4") == 1.0
    for wrong in ("2 8", "2/8", "0.25", "4 1", "1/", "/4", "14", "1 / 4 / 1", "1 in 4"):
        assert environment.verify(public, wrong, "1 4") == 0.0
