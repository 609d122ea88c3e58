class ZoneColours:
    family = "certificate"
    answer_type = "ints"
    answer_format = "the colour of zone 1, 2, 3 and so on, separated by spaces"
    max_level = 8

    def generate(self, rng, level):
        zones = 8 + 3 * level
        colours = [1, 2, 3] + [rng.randint(1, 3) for _ in range(zones - 3)]
        rng.shuffle(colours)
        borders = set()
        while len(borders) < zones + 5:
            a, b = sorted(rng.sample(range(zones), 2))
            if colours[a] != colours[b]:
                borders.add((a + 1, b + 1))
        return {"zones": zones, "borders": [list(border) for border in sorted(borders)]}, {"colours": colours}

    def render(self, public):
        borders = ", ".join(f"{a}-{b}" for a, b in public["borders"])
        return (
            f"A map has the zones 1 to {public['zones']}. These zones touch: {borders}. Give every zone one of the colours 1, 2 and 3 so that zones "
            "that touch have different colours."
        )

    def reference(self, public, private):
        return " ".join(map(str, private["colours"]))

    def verify(self, public, answer, reference):
        parts = answer.replace(",", " ").split()
        if not parts or any(part not in ("1", "2", "3") for part in parts):
            return 0.0
        colour = dict(zip(range(1, public["zones"] + 1), parts))
        return 1.0 if all(colour.get(a, a) != colour.get(b, b) for a, b in public["borders"]) else 0.0
