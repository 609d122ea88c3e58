class AutomatonRow:
    family = "compute"
    answer_type = "word"
    answer_format = "the row as a string of 0 and 1"
    max_level = 9

    def generate(self, rng, level):
        width = 5 + 2 * level
        cells = "".join(rng.choice("01") for _ in range(width))
        return {"rule": rng.randint(1, 254), "cells": cells, "steps": 1 + level}, {}

    def render(self, public):
        rule = public["rule"]
        table = ", ".join(f"{n:03b} gives {rule >> n & 1}" for n in range(7, -1, -1))
        return (
            f"A ring of cells: {public['cells']} (the first and the last cell are neighbours). In each step every cell is replaced "
            f"at once, according to its left neighbour, itself and its right neighbour: {table}.\n"
            f"Write the row after {public['steps']} step(s)."
        )

    def reference(self, public, private):
        cells = public["cells"]
        for _ in range(public["steps"]):
            size = len(cells)
            cells = "".join(
                str(public["rule"] >> int(cells[i - 1] + cells[i] + cells[(i + 1) % size], 2) & 1) for i in range(size)
            )
        return cells

    def verify(self, public, answer, reference):
        return 1.0 if len(answer.strip()) == len(reference) and set(answer.strip()) <= {"0", "1"} else 0.0
