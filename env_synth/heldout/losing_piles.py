"""Held-out environment: lost positions of a game on a pile of stones."""

import re

# By level: numbers that may be taken, the largest of them, first size asked about, sizes asked about, whether a rule divides.
LEVELS = (
    (0, 0, 0, 0, False),
    (2, 5, 6, 8, False),
    (3, 7, 10, 12, False),
    (3, 9, 20, 14, True),
    (3, 9, 45, 18, True),
    (4, 12, 90, 20, True),
    (4, 15, 200, 24, True),
    (5, 18, 500, 28, True),
    (5, 20, 1200, 32, True),
    (6, 25, 3000, 40, True),
)


def lost_sizes(takes, divisor, low, high):
    """The sizes from low to high from which every move leads to a size that is won for the other player."""
    lost = [True] * (high + 1)
    for size in range(high + 1):
        after = [size - take for take in takes if take <= size]
        if divisor and size > 0 and size % divisor == 0:
            after.append(size // divisor)
        lost[size] = not any(lost[left] for left in after)
    return [size for size in range(low, high + 1) if lost[size]]


class LosingPiles:
    """From which numbers of stones the player to move loses: taking up to 5 at level 0, thousands of stones at level 9."""

    family = "compute"
    answer_type = "ints"
    answer_format = "the numbers in rising order, separated by spaces"
    max_level = 9

    def generate(self, rng, level):
        number, largest, low, width, divides = LEVELS[level]
        if level == 0:
            most, low = rng.randint(2, 5), rng.randint(2, 60)
            return {"takes": list(range(1, most + 1)), "divisor": 0, "low": low, "high": low + most}, {}
        while True:
            takes = sorted(rng.sample(range(1, largest + 1), number))
            divisor = rng.randint(2, 5) if divides else 0
            first = low + rng.randint(0, low)
            last = first + width - 1 + rng.randint(0, width // 4)
            if 2 <= len(lost_sizes(takes, divisor, first, last)) <= 9:
                return {"takes": takes, "divisor": divisor, "low": first, "high": last}, {}

    def render(self, public):
        *others, largest = (str(take) for take in public["takes"])
        takes = f"{', '.join(others)} or {largest}"
        low, high, divisor = public["low"], public["high"], public["divisor"]
        if high - low < 6:
            sizes = ", ".join(str(size) for size in range(low, high))
            return (
                f"Two players take stones in turn, {takes} each time. Whoever takes the last stone wins.\n"
                f"There are {sizes} or {high} stones. Both play well. With which of these numbers does the player to move lose?"
            )
        rule = f" If their number is divisible by {divisor}, a move may instead divide it by {divisor}." if divisor else ""
        return (
            f"Two players move in turn on a pile of stones. A move takes {takes} stones away.{rule} Who cannot move loses.\n"
            f"Both play as well as possible. With which numbers of stones from {low} to {high} does the player to move lose?\n"
            "List them in rising order."
        )

    def reference(self, public, private):
        return " ".join(str(size) for size in lost_sizes(**public))

    def verify(self, public, answer, reference):
        parts = re.split(r"[\s,]+", answer.strip(" []()"))
        if not all(re.fullmatch(r"[0-9]{1,9}", part) for part in parts):
            return 0.0
        return 1.0 if [int(part) for part in parts] == [int(part) for part in reference.split()] else 0.0
