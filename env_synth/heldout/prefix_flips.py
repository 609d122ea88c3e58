"""Held-out environment: planted flips that sort a list."""

import itertools
import re

# By level: numbers, flips.
LEVELS = ((4, 1), (4, 2), (6, 3), (7, 5), (9, 7), (12, 10), (15, 13), (19, 16), (24, 21), (30, 26))


def breaks(numbers):
    """Neighbours that are not neighbours in the sorted list; a flip mends one at most, so at least as many are needed."""
    rank = {number: place for place, number in enumerate(sorted(numbers))}
    places = [rank[number] for number in numbers] + [len(numbers)]
    return sum(abs(first - second) > 1 for first, second in itertools.pairwise(places))


class PrefixFlips:
    """Sort a list by turning around its front: one flip of 4 numbers at level 0, 26 flips of 30 numbers at level 9.

    At least three quarters of the flips are needed; from level 4 up sorting number by number mostly takes too many.
    """

    family = "certificate"
    answer_type = "ints"
    answer_format = "the sizes of the flips in order, separated by spaces"
    max_level = 9

    def generate(self, rng, level):
        count, flips = LEVELS[level]
        ordered = sorted(rng.sample(range(1, max(20, 4 * count)), count))
        while True:
            numbers, sizes = ordered, []
            for _ in range(flips):
                sizes.insert(0, rng.randint(2, count))
                numbers = numbers[: sizes[0]][::-1] + numbers[sizes[0] :]
            if breaks(numbers) >= max(1, flips - flips // 4):
                return {"numbers": numbers, "flips": flips}, {"sizes": sizes}

    def render(self, public):
        shown = " ".join(str(number) for number in public["numbers"])
        if public["flips"] == 1:
            return (
                f"Numbers: {shown}\nReverse the first 2, 3 or 4 of them, so that all stand in rising order.\n"
                "How many are reversed, 2, 3 or 4?"
            )
        return (
            f"Numbers: {shown}\nA flip of size k turns around the order of the first k of them. Bring all into rising order "
            f"with at most {public['flips']} flips of sizes 2 to {len(public['numbers'])}.\n"
            "Which sizes do the flips have, in order?"
        )

    def reference(self, public, private):
        return " ".join(str(size) for size in private["sizes"])

    def verify(self, public, answer, reference):
        parts = re.split(r"[\s,]+", answer.strip(" []()"))
        numbers = public["numbers"]
        if len(parts) > public["flips"] or not all(re.fullmatch(r"[0-9]{1,3}", part) for part in parts):
            return 0.0
        for size in map(int, parts):
            if not 2 <= size <= len(numbers):
                return 0.0
            numbers = numbers[:size][::-1] + numbers[size:]
        return 1.0 if numbers == sorted(numbers) else 0.0
