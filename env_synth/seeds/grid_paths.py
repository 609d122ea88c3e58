"""Seed environment: grid-path counting."""

import re

SIDES = (2, 3, 4, 5, 7, 10, 14, 20, 28, 40)  # by level; one side may be up to three longer
MODULI = (97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167, 173)
LARGE_MODULI = (999883, 999907, 999917, 999931, 999953, 999959, 999961, 999979, 999983)


def count_paths(rows):
    """Paths from the top left to the bottom right cell, moving right or down, never onto 'x'."""
    counts = [0] * len(rows[0])
    counts[0] = 1
    for row in rows:
        for column, cell in enumerate(row):
            if cell == "x":
                counts[column] = 0
            elif column > 0:
                counts[column] += counts[column - 1]
    return counts[-1]


class GridPaths:
    """Count the right/down paths through a grid with blocked cells, from level 3 on modulo a prime.

    Level 0 is a grid of 2 x 2 to 2 x 6 cells with at most one block; level 9 is about 40 x 42.
    """

    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        height = SIDES[level]
        width = height + rng.randint(0, 4 if level == 0 else 3)
        if rng.random() < 0.5:
            height, width = width, height
        cells = [(row, column) for row in range(height) for column in range(width)]
        corners = {(0, 0), (height - 1, width - 1)}
        blocks = rng.randint(0, 1) if level == 0 else max(1, len(cells) // 10)
        while True:
            blocked = set(rng.sample(cells, blocks))
            rows = ["".join("x" if (row, column) in blocked else "o" for column in range(width)) for row in range(height)]
            if not blocked & corners and count_paths(rows) > 0:
                break
        start, end = rng.sample("ABCDEFGHJKLMNPQRSTUVWYZ", 2)
        modulus = None if level < 3 else rng.choice(MODULI if level < 6 else LARGE_MODULI)
        return {"rows": rows, "start": start, "end": end, "modulus": modulus}, {}

    def render(self, public):
        start, end, modulus = public["start"], public["end"], public["modulus"]
        lines = list(public["rows"])
        lines[0] = start + lines[0][1:]
        lines[-1] = lines[-1][:-1] + end
        text = f"Grid of {len(lines)} rows and {len(lines[0])} columns:\n" + "\n".join(lines)
        text += f"\nA path leads from {start} to {end}. Each step goes one cell right or one cell down, never onto x.\n"
        if modulus is None:
            return text + "How many different paths are there?"
        return text + f"Let N be the number of different paths. What is N modulo {modulus}?"

    def reference(self, public, private):
        total = count_paths(public["rows"])
        return str(total if public["modulus"] is None else total % public["modulus"])

    def verify(self, public, answer, reference):
        text = answer.strip()
        if not re.fullmatch(r"[+-]?[0-9]{1,40}", text):
            return 0.0
        return 1.0 if int(text) == int(reference) else 0.0
