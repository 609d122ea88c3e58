"""The seed subset_sum against a brute force of its own."""

import re
from itertools import combinations, permutations


def test_exactly_the_subsets_that_fit_are_accepted(small_cases):
    for environment, case in small_cases("subset_sum", count=6):
        shown, target = re.fullmatch(r"Numbers: ([\d ]+)\n(?:.*\n)?.* add up to (\d+)\?", case.prompt).groups()
        numbers = [int(number) for number in shown.split()]
        fitting = 0
        for size in range(len(numbers) + 1):
            for chosen in combinations(numbers, size):
                answer = " ".join(map(str, chosen))
                expected = 1.0 if sum(chosen) == int(target) else 0.0
                fitting += expected
                assert environment.verify(case.public, answer, None) == expected
        assert fitting >= 1


def test_any_order_but_no_number_twice(load_seed):
    environment = load_seed("subset_sum")
    public = {"numbers": [2, 4, 8], "target": 12}
    for order in permutations("48"):
        assert environment.verify(public, ", ".join(order), None) == 1.0
    for wrong in ("4 4 4", "8 2 2", "2 4 8", "12", "10 2", "8", "4 8 x"):
        assert environment.verify(public, wrong, None) == 0.0


def test_few_subsets_fit(small_cases):
    for _, case in small_cases("subset_sum", count=10, levels=(3,)):
        sums = [sum(chosen) for size in range(11) for chosen in combinations(case.public["numbers"], size)]
        assert sums.count(case.public["target"]) <= 8
