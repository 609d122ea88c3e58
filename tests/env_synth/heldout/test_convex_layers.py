"""The held-out family convex_layers against a brute force that reads the prompt alone."""

import re
from itertools import combinations, pairwise
from math import atan2


def side(first, second, third):
    (a, b), (c, d), (e, f) = first, second, third
    return (c - a) * (f - b) - (d - b) * (e - a)


def border(points):
    """A point is on the border if some line through it and another point has all points on one side."""
    found = set()
    for first, second in combinations(points, 2):
        turns = [side(first, second, point) for point in points]
        if min(turns) >= 0 or max(turns) <= 0:
            found |= {first, second}
    return found


def doubled_area(points):
    """Triangles around the middle, between neighbours by angle."""
    middle = (sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points))
    around = sorted(points, key=lambda point: atan2(point[1] - middle[1], point[0] - middle[0]))
    return round(sum(side(middle, first, second) for first, second in pairwise([*around, around[0]])))


def read(prompt):
    points = {(int(x), int(y)) for x, y in re.findall(r"\((\d+), (\d+)\)", prompt)}
    often = re.search(r"done (?:(once)|(\d+) times)", prompt)
    return points, 0 if often is None else 1 if often[1] else int(often[2])


def test_reference_is_the_area_around_what_is_left(family):
    for case in family("convex_layers").cases(range(7), 8):
        points, layers = read(case.prompt)
        for _ in range(layers):
            points -= border(points)
        assert case.reference == str(doubled_area(border(points))), case.prompt


def test_points_on_a_side_are_taken_away_too(family):
    square = [[x, y] for x in (0, 2, 4) for y in (0, 2, 4)]
    environment = family("convex_layers").environment
    assert environment.reference({"points": [*square, [1, 1], [3, 1], [1, 3]], "layers": 0}, {}) == "32"
    assert environment.reference({"points": [*square, [1, 1], [3, 1], [1, 3]], "layers": 1}, {}) == "4"
