"""The held-out family ruler_marks against a brute force that reads the prompt alone."""

import re
from itertools import combinations


def read(prompt):
    count = int(re.search(r"A ruler has (\d+) marks", prompt)[1])
    listed = re.search(r"occurs:\n([\d ]+)\n|marks: at 0, (at .+ the other)", prompt)
    return count, sorted(int(number) for number in re.findall(r"\d+", listed[1] or listed[2]))


def test_exactly_the_rulers_with_these_distances_are_accepted(family):
    rulers = family("ruler_marks")
    for case in rulers.cases(range(4), 5):
        count, wanted = read(case.prompt)
        fitting = 0
        for further in combinations(sorted(set(wanted)), count - 1):  # the first mark's distances are the other marks
            marks = (0, *further)
            expected = float(sorted(b - a for a, b in combinations(marks, 2)) == wanted)
            fitting += expected
            assert rulers.grade(case, " ".join(map(str, marks))) == expected
        assert fitting >= 1


def test_the_mirrored_ruler_is_right_and_other_shapes_are_wrong(family):
    rulers = family("ruler_marks")
    for case in rulers.cases((2, 6, 9), 5):
        marks = [int(part) for part in case.reference.split()]
        assert rulers.grade(case, " ".join(str(marks[-1] - mark) for mark in reversed(marks))) == 1.0
        for wrong in (marks[1:], marks[:-1], marks[::-1], [mark + 1 for mark in marks], [*marks, marks[-1]], [0, *marks]):
            assert rulers.grade(case, " ".join(map(str, wrong))) == 0.0
