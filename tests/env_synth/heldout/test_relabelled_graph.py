"""The held-out family relabelled_graph against a brute force that reads the prompt alone."""

import re
from itertools import permutations


def read(prompt):
    return [
        [frozenset(road) for road in re.findall(r"(\d+)-(\d+)", line)]
        for line in re.findall(r"^Roads on the (?:first|second) map: (.+)$", prompt, re.MULTILINE)
    ]


def test_exactly_the_renumberings_are_accepted(family):
    graphs = family("relabelled_graph")
    for case in [*graphs.cases(range(3), 4), graphs.case(3, "all")]:
        first, second = read(case.prompt)
        towns, others = (sorted({town for road in roads for town in road}, key=int) for roads in (first, second))
        fitting = 0
        for order in permutations(others):
            name = dict(zip(towns, order, strict=True))
            expected = float({frozenset(name[town] for town in road) for road in first} == set(second))
            fitting += expected
            assert graphs.grade(case, " ".join(order)) == expected
        assert fitting >= 1


def test_no_road_is_there_twice_and_towns_have_about_as_many_roads(family):
    for case in family("relabelled_graph").cases((4, 6, 9), 5):
        for roads in read(case.prompt):
            ends = [town for road in roads for town in road]
            counts = {ends.count(town) for town in ends}
            assert all(len(road) == 2 for road in roads)
            assert len(set(roads)) == len(roads)
            assert max(counts) - min(counts) <= 2


def test_towns_named_twice_or_not_at_all_are_refused(family):
    graphs = family("relabelled_graph")
    case = graphs.case(4, "names")
    names = case.reference.split()
    for wrong in (names[1:], names[:-1], [names[0], *names[:-1]], [*names, names[0]], [str(i + 1) for i in range(len(names))]):
        assert graphs.grade(case, " ".join(wrong)) == 0.0
