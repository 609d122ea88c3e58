"""The held-out family max_flow against a brute force that reads the prompt alone."""

import re
from itertools import combinations


def smallest_cut(pipes, start, goal):
    """Tries every set of places on the start's side: the largest flow is the smallest cut."""
    between = sorted({end for pipe in pipes for end in pipe[:2]} - {start, goal})
    sides = [{start, *chosen} for size in range(len(between) + 1) for chosen in combinations(between, size)]
    return min(sum(most for source, target, most in pipes if source in side and target not in side) for side in sides)


def read(prompt):
    row = re.findall(r"from (\w) to (\w) through a pipe that carries (\d+)", prompt)
    if row:
        return [(source, target, int(most)) for source, target, most in row], row[0][0], row[1][1]
    pipes = [(source, target, int(most)) for source, target, most in re.findall(r"(\w+)->(\w+) (\d+)", prompt)]
    return pipes, *re.search(r"from (\w+) to (\w+) in a minute\?", prompt).groups()


def test_reference_is_the_smallest_cut(family):
    for case in family("max_flow").cases(range(4), 15):
        assert case.reference == str(smallest_cut(*read(case.prompt))), case.prompt


def test_the_ends_seldom_decide(family):
    decided = 0
    for case in family("max_flow").cases((4, 6), 15):
        out_of_start = sum(most for source, _, most in case.public["pipes"] if source == case.public["start"])
        into_goal = sum(most for _, target, most in case.public["pipes"] if target == case.public["goal"])
        decided += int(case.reference) == min(out_of_start, into_goal)
    assert decided <= 10
