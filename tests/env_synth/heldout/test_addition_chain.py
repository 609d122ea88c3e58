"""The held-out family addition_chain against a brute force that reads the prompt alone."""

import random
import re
from itertools import product


def read(prompt):
    start = [int(number) for number in re.search(r"Start with ([\d and]+)\.", prompt)[1].split(" and ")]
    target, count = re.search(r"(?:Reach|lead to) (\d+) (?:with|in) at most (\w+)", prompt).groups()
    return start, int(target), 2 if count == "two" else int(count)


def is_chain(start, sums, target, most):
    known = list(start)
    for total in sums:
        if total not in {first + second for first, second in product(known, repeat=2)}:
            return False
        known.append(total)
    return len(sums) <= most and known[-1] == target


def some(case, start, length):
    """Sums made at random, most of them right as far as they go, and the planted ones."""
    rng = random.Random(case.prompt)
    yield [int(part) for part in case.reference.split()]
    for _ in range(500):
        known = list(start)
        while len(known) < len(start) + length:
            known.append(rng.choice(known) + rng.choice(known) + (rng.random() < 0.05))
        yield known[len(start) :]


def test_exactly_the_chains_are_accepted(family):
    chains = family("addition_chain")
    for case in chains.cases(range(3), 6):
        start, target, most = read(case.prompt)
        fitting = 0
        for length in range(1, most + 1):
            for sums in product(range(target + 1), repeat=length) if target**length < 3000 else some(case, start, length):
                expected = is_chain(start, sums, target, most)
                fitting += expected
                assert chains.grade(case, " ".join(map(str, sums))) == float(expected)
        assert fitting >= 1
        assert chains.grade(case, f"{case.reference} {target}") == 0.0  # a sum too many


def test_rules_at_the_edges(family):
    environment = family("addition_chain").environment
    public = {"start": [5], "target": 15, "sums": 3}
    for right in ("10 15", "10, 15", "[10, 15]", "10 20 15", "10 10 15"):  # a sum may be of no use, or made twice
        assert environment.verify(public, right, None) == 1.0
    for wrong in ("15", "10", "5 10 15 15", "10 15 20", "15 10", "0 10 15", "10 15 x", ""):
        assert environment.verify(public, wrong, None) == 0.0


def test_doubling_and_adding_takes_too_many_sums(family):
    for case in family("addition_chain").cases((3, 5, 7, 9), 10):
        start, target, most = read(case.prompt)
        sums, reached = 0, 1
        for bit in bin(target // start[0])[3:]:
            reached, sums = 2 * reached + int(bit), sums + 1 + int(bit)
        assert [reached * number for number in start] == [target]
        assert sums > most
