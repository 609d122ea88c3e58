"""The held-out family first_word against a brute force that reads the prompt alone."""

import re


def reachable(word, swaps):
    """Every word within that many swaps of neighbours, breadth first."""
    found = edge = {word}
    for _ in range(swaps):
        edge = {old[:i] + old[i + 1] + old[i] + old[i + 2 :] for old in edge for i in range(len(old) - 1)} - found
        found = found | edge
    return found


def read(prompt):
    short = re.search(r"letters of ([a-z]+) gives", prompt)
    if short:
        return short[1], 1
    often = re.search(r"up to (\d+) times", prompt)
    return re.search(r"^[a-z]+$", prompt, re.MULTILINE)[0], int(often[1]) if often else 1


def test_reference_is_the_first_of_all_words_within_reach(family):
    for case in family("first_word").cases(range(4), 10):
        word, swaps = read(case.prompt)
        assert case.reference == min(reachable(word, swaps)) != word, case.prompt


def test_the_number_of_swaps_binds_from_level_2_up(family):
    bound = sum(case.reference != "".join(sorted(case.public["word"])) for case in family("first_word").cases((2, 4, 6), 20))
    assert bound >= 55
