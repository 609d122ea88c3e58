import re


class StoneRow:
    """Two players take coins from the ends of a row; both play as well as possible."""

    family = "compute"
    answer_type = "int"
    answer_format = "one integer, possibly negative"
    max_level = 9

    def generate(self, rng, level):
        return {"row": [rng.randint(1, 60) for _ in range(4 + 2 * level)]}, {}

    def render(self, public):
        return (
            f"Coins lie in a row: {' '.join(map(str, public['row']))}. Ann and Ben move in turn, Ann first. A move takes the leftmost or the "
            "rightmost coin of what is left. After the last coin is taken, each adds up the own coins. Both play to make the own "
            "sum minus the other's sum as large as possible. What is Ann's sum minus Ben's sum at the end?"
        )

    def reference(self, public, private):
        row = public["row"]
        best = list(row)
        for length in range(2, len(row) + 1):
            for i in range(len(row) - length + 1):
                best[i] = max(row[i] - best[i + 1], row[i + length - 1] - best[i])
        return str(best[0])

    def verify(self, public, answer, reference):
        text = answer.strip().replace("\u2212", "-")
        if not re.fullmatch(r"[+-]?[0-9]{1,9}", text):
            return 0.0
        return 1.0 if int(text) == int(reference) else 0.0
