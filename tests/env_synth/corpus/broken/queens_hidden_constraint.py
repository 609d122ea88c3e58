class Queens:
    """Complete a placement of queens; one completion is planted."""

    family = "certificate"
    answer_type = "ints"
    answer_format = "the column of the queen in each row, from row 1 on, separated by spaces"
    max_level = 8

    def generate(self, rng, level):
        size = 7 + level
        while True:
            columns = []
            self._place(rng, size, columns)
            if columns:
                break
        shown = rng.sample(range(size), 3)
        return {"size": size, "given": {str(row + 1): columns[row] for row in sorted(shown)}, "last": columns[-1]}, {"columns": columns}

    def _place(self, rng, size, columns):
        row = len(columns)
        if row == size:
            return True
        for column in rng.sample(range(1, size + 1), size):
            if all(other != column and abs(other - column) != row - r for r, other in enumerate(columns)):
                columns.append(column)
                if self._place(rng, size, columns):
                    return True
                columns.pop()
        return False

    def render(self, public):
        given = "".join(f" Row {row} has its queen in column {column}." for row, column in public["given"].items())
        size = public["size"]
        return (
            f"Place {size} queens on a {size} by {size} board, one in each row, so that no two share a column or a diagonal. "
            f"Rows and columns are numbered from 1.{given}\nGive the column of the queen of each row."
        )

    def reference(self, public, private):
        return " ".join(str(column) for column in private["columns"])

    def verify(self, public, answer, reference):
        parts = answer.replace(",", " ").split()
        if len(parts) != public["size"] or not all(part.isdecimal() and len(part) < 4 for part in parts):
            return 0.0
        columns = [int(part) for part in parts]
        if sorted(columns) != list(range(1, public["size"] + 1)):
            return 0.0
        if any(columns[int(row) - 1] != column for row, column in public["given"].items()):
            return 0.0
        if columns[-1] != public["last"]:
            return 0.0
        sums = {row + column for row, column in enumerate(columns)}
        differences = {row - column for row, column in enumerate(columns)}
        return 1.0 if len(sums) == len(differences) == public["size"] else 0.0
