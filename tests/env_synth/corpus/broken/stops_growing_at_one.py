class FieldMaze:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        side = 4 if level == 0 else 5
        return {"rows": [[rng.randint(1, 30) for _ in range(side)] for _ in range(side)]}, {}

    def render(self, public):
        rows = "\n".join(" ".join(map(str, row)) for row in public["rows"])
        return (
            f"{rows}\nWalk from the upper left to the lower right number of this square; each step goes one to the right or one down. "
            "What is the smallest possible sum of the numbers on the way, both ends included?"
        )

    def reference(self, public, private):
        best = []
        for y, row in enumerate(public["rows"]):
            line = []
            for x, value in enumerate(row):
                before = line[-1:] + best[x : x + 1]
                line.append(value + min(before, default=0))
            best = line
        return str(best[-1])

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip() == reference else 0.0
