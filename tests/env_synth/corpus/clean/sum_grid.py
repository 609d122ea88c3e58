class SumGrid:
    """Fill a grid with the numbers 1 to n*n, each once, so that rows and columns have the stated sums."""

    family = "certificate"
    answer_type = "ints"
    answer_format = "all numbers of the grid row by row, separated by spaces"
    max_level = 7

    def generate(self, rng, level):
        side = 3 if level < 2 else 4 if level < 5 else 5
        values = rng.sample(range(1, side * side + 1), side * side)
        rows = [values[i * side : (i + 1) * side] for i in range(side)]
        shown = rng.sample(range(side * side), max(2, side * side - 5 - 2 * level))
        grid = [values[place] if place in shown else 0 for place in range(side * side)]
        return {
            "side": side,
            "grid": [grid[i * side : (i + 1) * side] for i in range(side)],
            "rows": [sum(row) for row in rows],
            "columns": [sum(column) for column in zip(*rows)],
        }, {"values": values}

    def render(self, public):
        side = public["side"]
        grid = "\n".join(" ".join(str(value) if value else "?" for value in row) for row in public["grid"])
        return (
            f"Replace every ? in this {side} by {side} grid so that each number from 1 to {side * side} occurs exactly once in the grid:\n{grid}\n"
            f"The row sums must be {', '.join(map(str, public['rows']))} (top to bottom), the column sums "
            f"{', '.join(map(str, public['columns']))} (left to right). Write the full grid."
        )

    def reference(self, public, private):
        return " ".join(map(str, private["values"]))

    def verify(self, public, answer, reference):
        side = public["side"]
        parts = answer.replace(",", " ").split()
        if len(parts) != side * side or not all(part.isascii() and part.isdigit() and len(part) < 4 for part in parts):
            return 0.0
        values = [int(part) for part in parts]
        if sorted(values) != list(range(1, side * side + 1)):
            return 0.0
        rows = [values[i * side : (i + 1) * side] for i in range(side)]
        for given, row in zip(public["grid"], rows):
            if any(a and a != b for a, b in zip(given, row)):
                return 0.0
        if [sum(row) for row in rows] != public["rows"]:
            return 0.0
        return 1.0 if [sum(column) for column in zip(*rows)] == public["columns"] else 0.0
