import re


class RoundTrip:
    family = "certificate"
    answer_type = "ints"
    answer_format = "the towns in the order of the tour, each once, starting with town 1, separated by spaces"
    max_level = 8

    def generate(self, rng, level):
        towns = 7 + 2 * level
        tour = list(range(2, towns + 1))
        rng.shuffle(tour)
        tour = [1, *tour]
        roads = {tuple(sorted(pair)) for pair in zip(tour, tour[1:] + tour[:1])}
        while len(roads) < 2 * towns:
            roads.add(tuple(sorted(rng.sample(range(1, towns + 1), 2))))
        return {"towns": towns, "roads": [list(road) for road in sorted(roads)]}, {"tour": tour}

    def render(self, public):
        roads = ", ".join(f"{a}-{b}" for a, b in public["roads"])
        return (
            f"Towns 1 to {public['towns']} are joined by two-way roads: {roads}. Find a round trip that starts in town 1, visits every town exactly once "
            "and then returns to town 1, using roads only."
        )

    def reference(self, public, private):
        return " ".join(map(str, private["tour"]))

    def verify(self, public, answer, reference):
        parts = re.split(r"[\s,-]+", answer.strip())
        if not all(re.fullmatch(r"[0-9]{1,3}", part) for part in parts):
            return 0.0
        tour = [int(part) for part in parts]
        if tour[0] != 1 or sorted(tour) != list(range(1, public["towns"] + 1)):
            return 0.0
        roads = {tuple(road) for road in public["roads"]}
        return 1.0 if all(tuple(sorted(pair)) in roads for pair in zip(tour, tour[1:])) else 0.0
