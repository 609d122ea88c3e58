import re
from collections import deque


def island_sizes(rows):
    seen, sizes = set(), []
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            if cell != "#" or (y, x) in seen:
                continue
            queue, size = deque([(y, x)]), 0
            seen.add((y, x))
            while queue:
                cy, cx = queue.popleft()
                size += 1
                for ny, nx in ((cy + 1, cx), (cy - 1, cx), (cy, cx + 1), (cy, cx - 1), (cy + 1, cx + 1)):
                    inside = 0 <= ny < len(rows) and 0 <= nx < len(row)
                    if inside and rows[ny][nx] == "#" and (ny, nx) not in seen:
                        seen.add((ny, nx))
                        queue.append((ny, nx))
            sizes.append(size)
    return sizes


class Islands:
    family = "compute"
    answer_type = "int"
    answer_format = "one whole number"
    max_level = 9

    def generate(self, rng, level):
        side = 4 + 2 * level
        rows = ["".join(rng.choice("##.") if rng.random() < 0.8 else "." for _ in range(side)) for _ in range(side)]
        if not any("#" in row for row in rows):
            rows[0] = "#" + rows[0][1:]
        return {"rows": rows, "height": side, "width": side}, {}

    def render(self, public):
        return (
            "In this map # is land and . is water. Land cells that touch by a side (not by a corner) belong to the same island.\n"
            + "\n".join(public["rows"])
            + "\nAdd up the squares of the sizes of all islands. What is the total?"
        )

    def reference(self, public, private):
        return str(sum(size * size for size in island_sizes(public["rows"])))

    def verify(self, public, answer, reference):
        match = re.fullmatch(r"\s*([0-9]{1,12})\s*", answer)
        return 1.0 if match and int(match.group(1)) == int(reference) else 0.0
