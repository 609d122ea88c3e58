"""Seed environment: Latin-square completion."""

import re

LEVELS = ((2, 1), (3, 1), (4, 5), (5, 10), (6, 20), (7, 26), (9, 38), (11, 54), (13, 74), (16, 110))  # order, blanks


def match_row(rng, allowed):
    """One distinct value for each column out of its allowed values, at random (augmenting paths)."""
    holder = {}  # value -> column

    def place(column, seen):
        for value in rng.sample(sorted(allowed[column]), len(allowed[column])):
            if value not in seen:
                seen.add(value)
                if value not in holder or place(holder[value], seen):
                    holder[value] = column
                    return True
        return False

    for column in range(len(allowed)):
        place(column, set())
    return sorted(holder, key=holder.get)


class LatinSquare:
    """Fill the blanks of a Latin square: order 2 with one blank at level 0, order 16 with 110 blanks at level 9."""

    family = "certificate"
    answer_type = "ints"
    answer_format = "the missing numbers, separated by spaces"
    max_level = 9

    def generate(self, rng, level):
        order, blanks = LEVELS[level]
        numbers = sorted(rng.sample(range(1, max(10, 2 * order)), order))
        allowed = [set(numbers) for _ in range(order)]
        rows = []
        for _ in range(order):
            rows.append(match_row(rng, allowed))  # always possible: every value is still allowed in as many columns
            for column, value in enumerate(rows[-1]):
                allowed[column].discard(value)
        hidden = sorted(rng.sample(range(order * order), blanks))
        missing = [rows[place // order][place % order] for place in hidden]
        for place in hidden:
            rows[place // order][place % order] = 0
        return {"rows": rows, "numbers": numbers}, {"missing": missing}

    def render(self, public):
        rows = "\n".join(" ".join(str(value or "_") for value in row) for row in public["rows"])
        if sum(row.count(0) for row in public["rows"]) == 1:
            numbers = ", ".join(str(number) for number in public["numbers"][:-1])
            return (
                f"{rows}\nEach row and each column must hold {numbers} and {public['numbers'][-1]} once.\n"
                "Which number goes in place of _?"
            )
        numbers = " ".join(str(number) for number in public["numbers"])
        return (
            f"{rows}\nEach row and each column must hold each of the numbers {numbers} once.\n"
            "Which numbers go in place of _, row by row from left to right?"
        )

    def reference(self, public, private):
        return " ".join(str(value) for value in private["missing"])

    def verify(self, public, answer, reference):
        parts = re.split(r"[\s,]+", answer.strip(" []()"))
        if not all(re.fullmatch(r"[0-9]{1,3}", part) for part in parts):
            return 0.0
        if len(parts) != sum(row.count(0) for row in public["rows"]):
            return 0.0
        values = iter(parts)
        rows = [[value or int(next(values)) for value in row] for row in public["rows"]]
        lines = [sorted(line) for line in [*rows, *zip(*rows, strict=True)]]
        return 1.0 if all(line == sorted(public["numbers"]) for line in lines) else 0.0
