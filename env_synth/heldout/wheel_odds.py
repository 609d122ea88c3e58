"""Held-out environment: the chance that the sum of several wheels passes a limit."""

import collections
import math
import re

# By level: wheels, most numbers on a wheel, largest number.
LEVELS = (
    (1, 7, 12),
    (2, 3, 9),
    (2, 5, 20),
    (3, 5, 30),
    (4, 6, 30),
    (5, 6, 50),
    (6, 7, 70),
    (8, 7, 99),
    (10, 8, 99),
    (12, 9, 99),
)


def ways_above(wheels, limit):
    """Of all combinations of one number a wheel, how many add up to more than `limit`."""
    ways = {0: 1}
    for wheel in wheels:
        before, ways = ways, collections.Counter()
        for total, count in before.items():
            for number in wheel:
                ways[total + number] += count
    return sum(count for total, count in ways.items() if total > limit)


class WheelOdds:
    """A chance as a fraction in lowest terms: one wheel of 3 to 7 numbers at level 0, the sum of 12 wheels at level 9."""

    family = "compute"
    answer_type = "ints"
    answer_format = "two integers, the numerator and the denominator"
    max_level = 9

    def generate(self, rng, level):
        count, most, largest = LEVELS[level]
        sizes = [rng.choice((3, 5, 7))] if level == 0 else [rng.randint((most + 2) // 2, most) for _ in range(count)]
        wheels = [rng.sample(range(1, largest + 1), size) for size in sizes]
        limit = largest * count
        while limit >= sum(map(max, wheels)):  # neither impossible nor certain
            limit = sum(map(rng.choice, wheels))
        return {"wheels": wheels, "limit": limit}, {}

    def render(self, public):
        wheels, limit = public["wheels"], public["limit"]
        lines = "\n".join(" ".join(str(number) for number in wheel) for wheel in wheels)
        if len(wheels) == 1:
            return (
                f"A wheel has the numbers {lines}, all equally likely.\n"
                f"How many of the {len(wheels[0])} numbers are above {limit}? Write that and {len(wheels[0])}, which is the "
                "chance as a fraction."
            )
        return (
            f"Wheels, one a line:\n{lines}\nEach wheel is spun once; all numbers of a wheel are equally likely.\n"
            f"What is the chance that the sum is above {limit}? Give it as a fraction in lowest terms."
        )

    def reference(self, public, private):
        above, everything = ways_above(public["wheels"], public["limit"]), math.prod(map(len, public["wheels"]))
        shared = math.gcd(above, everything)
        return f"{above // shared} {everything // shared}"

    def verify(self, public, answer, reference):
        found = re.fullmatch(r"([0-9]{1,40})(?:[\s,]+|/)([0-9]{1,40})", answer.strip(" []()"))
        if not found:
            return 0.0
        return 1.0 if [int(found[1]), int(found[2])] == [int(part) for part in reference.split()] else 0.0
