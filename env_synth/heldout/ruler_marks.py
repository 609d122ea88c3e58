"""Held-out environment: planted marks of a ruler, found from their distances."""

import itertools
import re

# By level: marks, largest place.
LEVELS = ((3, 30), (4, 20), (4, 40), (5, 60), (7, 99), (9, 199), (12, 299), (15, 499), (19, 799), (24, 999))


def distances(marks):
    """Of all pairs of marks, in rising order."""
    return sorted(abs(first - second) for first, second in itertools.combinations(marks, 2))


class RulerMarks:
    """Place marks so that their distances are the given ones: three marks at level 0, 24 with 276 distances at level 9."""

    family = "certificate"
    answer_type = "ints"
    answer_format = "the places of all marks from 0 upwards, separated by spaces"
    max_level = 9

    def generate(self, rng, level):
        count, largest = LEVELS[level]
        marks = [0, *sorted(rng.sample(range(1, largest + 1), count - 1))]
        return {"marks": count, "distances": distances(marks)}, {"places": marks}

    def render(self, public):
        count, shown = public["marks"], [str(distance) for distance in public["distances"]]
        if count == 3:
            return (
                f"A ruler has 3 marks: at 0, at {shown[2]} and one between, {shown[0]} from one end and {shown[1]} from the "
                "other.\nWhere are the marks, from 0 upwards?"
            )
        return (
            f"A ruler has {count} marks, the first at 0. The distances of all pairs of marks, each as often as it occurs:\n"
            f"{' '.join(shown)}\nWhere are the marks, from 0 upwards?"
        )

    def reference(self, public, private):
        return " ".join(str(place) for place in private["places"])

    def verify(self, public, answer, reference):
        parts = re.split(r"[\s,]+", answer.strip(" []()"))
        if len(parts) != public["marks"] or not all(re.fullmatch(r"[0-9]{1,6}", part) for part in parts):
            return 0.0
        marks = [int(part) for part in parts]
        if marks[0] != 0 or marks != sorted(marks):
            return 0.0
        return 1.0 if distances(marks) == public["distances"] else 0.0
