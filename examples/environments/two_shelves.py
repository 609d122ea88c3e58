"""Things that are moved between two shelves."""


class TwoShelves:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        shelves = {"left": rng.randint(6, 20 + level), "right": rng.randint(6, 20 + level)}
        moves = [[rng.choice(["left", "right"]), rng.randint(1, 5)] for _ in range(1 + level)]
        return {"shelves": shelves, "moves": moves, "asked": rng.choice(["left", "right"])}, {}

    def render(self, public):
        moves = " ".join(f"{count} books go from the {side} shelf to the other one." for side, count in public["moves"])
        return (
            f"The left shelf has {public['shelves']['left']} books, the right shelf {public['shelves']['right']}. {moves} "
            f"A move for which there are too few books is left out. How many books are on the {public['asked']} shelf now?"
        )

    def reference(self, public, private):
        shelves = dict(public["shelves"])
        for side, count in public["moves"]:
            other = "right" if side == "left" else "left"
            if shelves[side] >= count:
                shelves[side] -= count
                shelves[other] += count
        return str(shelves[public["asked"]])

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip() == reference else 0.0
