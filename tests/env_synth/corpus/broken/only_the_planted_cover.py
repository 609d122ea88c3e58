import re


class VertexCover:
    family = "certificate"
    answer_type = "ints"
    answer_format = "the chosen stations separated by spaces"
    max_level = 9

    def generate(self, rng, level):
        count, size = 8 + 2 * level, 3 + level // 2
        cover = rng.sample(range(1, count + 1), size)
        others = [n for n in range(1, count + 1) if n not in cover]
        lines = set()
        for station in others:
            for end in rng.sample(cover, min(size, rng.randint(2, 3))):
                lines.add(tuple(sorted((station, end))))
        for _ in range(size):
            lines.add(tuple(sorted(rng.sample(cover, 2))))
        return {"count": count, "size": size, "lines": [list(line) for line in sorted(lines)], "cover": sorted(cover)}, {"cover": sorted(cover)}

    def render(self, public):
        lines = ", ".join(f"{a}-{b}" for a, b in public["lines"])
        return (
            f"Stations 1 to {public['count']} are joined by these lines: {lines}.\n"
            f"Choose exactly {public['size']} different stations so that every line has at least one chosen end. Any order is fine."
        )

    def reference(self, public, private):
        return " ".join(str(n) for n in private["cover"])

    def verify(self, public, answer, reference):
        if not re.fullmatch(r"[0-9]{1,4}([,\s]+[0-9]{1,4})*", answer.strip()):
            return 0.0
        chosen = {int(part) for part in re.findall("[0-9]+", answer)}
        if len(re.findall("[0-9]+", answer)) != public["size"] or len(chosen) != public["size"]:
            return 0.0
        if not all(1 <= n <= public["count"] for n in chosen):
            return 0.0
        return 1.0 if sorted(chosen) == public["cover"] else 0.0
