"""Held-out environment: area inside the convex layers of a set of points."""

import itertools
import re

# By level: points, layers taken away, largest coordinate.
LEVELS = (
    (3, 0, 13),
    (3, 0, 15),
    (5, 0, 9),
    (8, 0, 20),
    (14, 1, 30),
    (22, 1, 50),
    (34, 2, 70),
    (52, 3, 90),
    (80, 4, 99),
    (125, 6, 99),
)


def turn(first, second, third):
    """Above 0 if the way from the first over the second to the third point turns left."""
    return (second[0] - first[0]) * (third[1] - first[1]) - (second[1] - first[1]) * (third[0] - first[0])


def corners(points):
    """Corners of the smallest convex polygon around the points, anticlockwise."""
    found = []
    for ordered in (sorted(points), sorted(points, reverse=True)):
        chain = []
        for point in ordered:
            while len(chain) > 1 and turn(chain[-2], chain[-1], point) <= 0:
                chain.pop()
            chain.append(point)
        found += chain[:-1]
    return found


def peeled(points, layers):
    """The points that are left when all on the border were taken away, `layers` times."""
    for _ in range(layers):
        border = corners(points)
        sides = list(itertools.pairwise([*border, *border[:1]]))
        points = [point for point in points if all(turn(first, second, point) > 0 for first, second in sides)]
    return points


def doubled_area(points):
    """Twice the area of the smallest convex polygon around the points; 0 if they lie on a line or there are none."""
    border = corners(points)
    return sum(x * below - y * left for (x, y), (left, below) in itertools.pairwise([*border, *border[:1]]))


class ConvexLayers:
    """Twice the area of a convex hull: a triangle at level 0, 125 points without their 6 outer layers at level 9."""

    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        count, layers, largest = LEVELS[level]
        if level < 2:  # a right angle, at (0, 0) on level 0
            left, low = (0, 0) if level == 0 else (rng.randint(1, 9), rng.randint(1, 9))
            points = [[left, low], [left + rng.randint(2, largest), low], [left, low + rng.randint(2, largest)]]
            return {"points": points, "layers": 0}, {}
        while True:
            places = rng.sample(range((largest + 1) ** 2), count)
            points = [[place % (largest + 1), place // (largest + 1)] for place in places]
            if doubled_area(peeled(points, layers)) > 0:
                return {"points": points, "layers": layers}, {}

    def render(self, public):
        shown = [f"({across}, {up})" for across, up in public["points"]]
        if len(shown) == 3:
            text = f"The corners of a triangle are {shown[0]}, {shown[1]} and {shown[2]}."
            if public["points"][0] == [0, 0]:
                return f"{text} Twice its area is {public['points'][1][0]} * {public['points'][2][1]}.\nHow much is that?"
            return f"{text}\nWhat is twice its area?"
        points = ", ".join(shown)
        if public["layers"] == 0:
            return f"Points: {points}\nWhat is twice the area of the smallest convex polygon around them?"
        again = "This is done once." if public["layers"] == 1 else f"This is done {public['layers']} times."
        return (
            f"Points: {points}\n"
            "Around the points that are there lies the smallest convex polygon; all points on its border, corners or not, are "
            f"taken away. {again}\nWhat is twice the area of the smallest convex polygon around the points that are left?"
        )

    def reference(self, public, private):
        return str(doubled_area(peeled(public["points"], public["layers"])))

    def verify(self, public, answer, reference):
        text = answer.strip()
        if not re.fullmatch(r"[+-]?[0-9]{1,40}", text):
            return 0.0
        return 1.0 if int(text) == int(reference) else 0.0
