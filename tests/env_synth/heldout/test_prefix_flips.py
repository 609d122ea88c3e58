"""The held-out family prefix_flips against a brute force that reads the prompt alone."""

import re
from itertools import product


def flipped(numbers, sizes):
    for size in sizes:
        numbers = [*reversed(numbers[:size]), *numbers[size:]]
    return numbers


def read(prompt):
    numbers = [int(number) for number in re.search(r"Numbers: ([\d ]+)\n", prompt)[1].split()]
    most = re.search(r"at most (\d+) flips of sizes 2 to (\d+)", prompt)
    assert most is None or int(most[2]) == len(numbers)
    return numbers, int(most[1]) if most else 1


def test_exactly_the_flips_that_sort_are_accepted(family):
    flips = family("prefix_flips")
    for case in flips.cases(range(3), 8):
        numbers, most = read(case.prompt)
        fitting = 0
        for length in range(1, most + 2):
            for sizes in product(range(2, len(numbers) + 1), repeat=length):
                sorts = length <= most and flipped(numbers, sizes) == sorted(numbers)
                fitting += sorts
                assert flips.grade(case, " ".join(map(str, sizes))) == float(sorts)
        assert fitting >= 1


def test_sizes_out_of_range_are_refused(family):
    environment = family("prefix_flips").environment
    public = {"numbers": [3, 2, 1], "flips": 2}
    assert environment.verify(public, "3", None) == 1.0
    for wrong in ("", "1 3", "3 1", "4", "0 3", "-3", "3 2 2", "3 x"):
        assert environment.verify(public, wrong, None) == 0.0
