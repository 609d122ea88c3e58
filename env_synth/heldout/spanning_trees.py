"""Held-out environment: counting spanning trees."""

import re

# By level: computers, pairs joined besides a chain through all, most cables of a pair, largest modulus (0: none).
LEVELS = (
    (3, 0, 9, 0),
    (3, 1, 9, 0),
    (4, 1, 5, 0),
    (5, 2, 3, 499),
    (7, 4, 4, 999),
    (9, 7, 4, 999),
    (12, 10, 5, 9999),
    (17, 16, 5, 99999),
    (25, 26, 6, 999999),
    (36, 40, 6, 999999),
)


def count_trees(count, cables):
    """Kirchhoff's determinant, by elimination in which every division comes out even (Bareiss)."""
    size = count - 1
    rows = [[0] * size for _ in range(size)]
    for first, second, number in cables:
        for one, other in ((first, second), (second, first)):
            if one <= size:
                rows[one - 1][one - 1] += number
                if other <= size:
                    rows[one - 1][other - 1] -= number
    divisor = 1
    for step, top in enumerate(rows):
        if top[step] == 0:
            return 0
        for row in rows[step + 1 :]:
            for column in range(step + 1, size):
                row[column] = (row[column] * top[step] - row[step] * top[column]) // divisor
        divisor = top[step]
    return divisor


class SpanningTrees:
    """Ways to keep just enough cables that all stay linked: one product at level 0, 36 computers modulo a number at level 9."""

    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        count, further, most, largest = LEVELS[level]
        order = rng.sample(range(1, count + 1), count) if level > 1 else [1, 2, 3]
        pairs = {tuple(sorted((order[place], order[place + 1]))) for place in range(count - 1)}
        while len(pairs) < count - 1 + further:
            pairs.add(tuple(sorted(rng.sample(order, 2))))
        cables = [[first, second, rng.randint(2 if level < 2 else 1, most)] for first, second in sorted(pairs)]
        modulus = rng.randint(largest // 2, largest) if largest else 0
        names = rng.sample("ABCDEFGHJKLMNPQRSTUVWXYZ", 3) if level < 2 else []
        return {"computers": count, "cables": cables, "modulus": modulus, "names": names}, {}

    def render(self, public):
        count, cables, modulus = public["computers"], public["cables"], public["modulus"]
        if count == 3:
            first, second, third = public["names"]
            numbers = [number for _, _, number in cables]
            if len(numbers) == 2:
                return (
                    f"There are {numbers[0]} different cables from {first} to {second} and {numbers[1]} from {second} to "
                    f"{third}. One of each kind is kept: {numbers[0]} * {numbers[1]} choices.\nHow many are that?"
                )
            return (
                f"There are {numbers[0]} different cables from {first} to {second}, {numbers[1]} from {first} to {third} and "
                f"{numbers[2]} from {second} to {third}. Keep two cables so that {first}, {second} and {third} stay linked.\n"
                "How many choices are there?"
            )
        shown = ", ".join(f"{first}-{second}: {number}" for first, second, number in cables)
        text = (
            f"Computers 1 to {count}, and how many cables join them:\n{shown}\n"
            f"All cables are different. Keep {count - 1} of them so that every computer is still linked with every other, "
            "directly or over others.\n"
        )
        if not modulus:
            return text + "How many choices are there?"
        return text + f"Let N be the number of choices. What is N modulo {modulus}?"

    def reference(self, public, private):
        total = count_trees(public["computers"], public["cables"])
        return str(total % public["modulus"] if public["modulus"] else total)

    def verify(self, public, answer, reference):
        text = answer.strip()
        if not re.fullmatch(r"[+-]?[0-9]{1,40}", text):
            return 0.0
        return 1.0 if int(text) == int(reference) else 0.0
