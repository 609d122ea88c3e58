import re
from itertools import pairwise


class RectangleUnion:
    family = "compute"
    answer_type = "int"
    answer_format = "the area as one integer"
    max_level = 9

    def generate(self, rng, level):
        side = 12 + 6 * level
        rectangles = []
        for _ in range(2 + level):
            x, y = rng.randrange(side - 3), rng.randrange(side - 3)
            rectangles.append([x, y, rng.randint(x + 2, side), rng.randint(y + 2, side)])
        return {"rectangles": rectangles}, {}

    def render(self, public):
        listed = "\n".join(f"from ({x1}, {y1}) to ({x2}, {y2})" for x1, y1, x2, y2 in public["rectangles"])
        return (
            "Each line gives a rectangle with sides parallel to the axes by its lower left and its upper right corner:\n"
            f"{listed}\nWhat is the area of the region that is covered by at least one rectangle?"
        )

    def reference(self, public, private):
        rectangles = public["rectangles"]
        xs = sorted({x for x1, _, x2, _ in rectangles for x in (x1, x2)})
        area = 0
        for left, right in pairwise(xs):
            spans = sorted((y1, y2) for x1, y1, x2, y2 in rectangles if x1 <= left and right <= x2)
            covered, reached = 0, -1
            for low, high in spans:
                if high > reached:
                    covered += high - max(low, reached)
                    reached = high
            area += covered * (right - left)
        return str(area)

    def verify(self, public, answer, reference):
        match = re.fullmatch(r"([0-9]{1,10})", answer.strip())
        return 1.0 if match and int(match[1]) == int(reference) else 0.0
