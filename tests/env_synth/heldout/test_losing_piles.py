"""The held-out family losing_piles against a brute force that reads the prompt alone."""

import re
from functools import cache


def lost(takes, divisor, low, high):
    """Plays the game out."""

    @cache
    def wins(stones):
        after = {stones - take for take in takes if take <= stones}
        if divisor and stones and stones % divisor == 0:
            after.add(stones // divisor)
        return any(not wins(left) for left in after)

    for stones in range(high):  # from small piles up, so that no call goes deep
        wins(stones)
    return [stones for stones in range(low, high + 1) if not wins(stones)]


def read(prompt):
    short = re.search(r"in turn, ([\d, or]+) each time.*There are ([\d, or]+) stones", prompt, re.DOTALL)
    if short:
        takes, sizes = ([int(number) for number in re.findall(r"\d+", text)] for text in short.groups())
        assert sizes == list(range(sizes[0], sizes[-1] + 1))
        return takes, 0, sizes[0], sizes[-1]
    takes = [int(number) for number in re.findall(r"\d+", re.search(r"A move takes ([\d, or]+) stones", prompt)[1])]
    divisor = re.search(r"divisible by (\d+), a move may instead divide it by (\d+)", prompt)
    assert divisor is None or divisor[1] == divisor[2]
    low, high = map(int, re.search(r"from (\d+) to (\d+) does", prompt).groups())
    return takes, divisor and int(divisor[1]), low, high


def test_reference_lists_what_loses_when_the_game_is_played_out(family):
    for case in family("losing_piles").cases(range(6), 10):
        assert case.reference == " ".join(map(str, lost(*read(case.prompt)))), case.prompt


def test_level_0_has_one_answer_among_the_numbers_shown(family):
    for case in family("losing_piles").cases([0], 40):
        assert int(case.reference) in range(case.public["low"], case.public["high"] + 1)


def test_the_rule_that_divides_matters(family):
    cases = family("losing_piles").cases([4], 30)
    environment = family("losing_piles").environment
    assert sum(environment.reference({**case.public, "divisor": 0}, {}) != case.reference for case in cases) >= 15
