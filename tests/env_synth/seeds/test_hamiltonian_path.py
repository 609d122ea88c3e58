"""The seed hamiltonian_path against a brute force of its own."""

import re
from itertools import pairwise, permutations


def test_exactly_the_hamiltonian_paths_are_accepted(small_cases):
    for environment, case in small_cases("hamiltonian_path", count=6):
        towns = re.search(r"(?:Towns|Road): ([\d ]+)\n", case.prompt).group(1).split()
        roads = set(re.findall(r"(\d+)->(\d+)", case.prompt) or pairwise(re.findall(r"\d+", case.prompt.split(".")[0])))
        found = 0
        for order in permutations(towns):
            expected = 1.0 if set(pairwise(order)) <= roads else 0.0
            found += expected
            assert environment.verify(case.public, " ".join(order), None) == expected
        assert found >= 1


def test_spelling_and_wrong_shapes(load_seed):
    environment = load_seed("hamiltonian_path")
    public = {"towns": [2, 5, 9], "roads": [[5, 2], [2, 9]]}
    for right in ("5 2 9", "5, 2, 9", "[5,2,9]", "5->2->9", "5 -> 2 -> 9"):
        assert environment.verify(public, right, None) == 1.0
    for wrong in ("9 2 5", "5 2", "5 2 9 2", "5 9 2", "5 2 2", "5 2 9 x"):
        assert environment.verify(public, wrong, None) == 0.0
