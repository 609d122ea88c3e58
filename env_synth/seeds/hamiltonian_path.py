"""Seed environment: planted Hamiltonian path."""

import itertools
import re

# By level: towns, one-way roads besides the planted path.
LEVELS = ((3, 0), (4, 1), (5, 3), (7, 7), (11, 17), (15, 25), (21, 36), (30, 54), (42, 78), (60, 114))


class HamiltonianPath:
    """Visit every town exactly once over one-way roads: three towns in a row at level 0, 60 towns at level 9."""

    family = "certificate"
    answer_type = "ints"
    answer_format = "the towns in the order of the visit, separated by spaces"
    max_level = 9

    def generate(self, rng, level):
        count, decoys = LEVELS[level]
        towns = rng.sample(range(1, max(10, 2 * count)), count)
        roads = set(itertools.pairwise(towns))
        while len(roads) < count - 1 + decoys:
            source, target = rng.sample(towns, 2)
            roads.add((source, target))
        shown = [list(road) for road in sorted(roads)]
        rng.shuffle(shown)
        return {"towns": sorted(towns), "roads": shown}, {"path": towns}

    def render(self, public):
        towns = " ".join(str(town) for town in public["towns"])
        roads = ", ".join(f"{source}->{target}" for source, target in public["roads"])
        return (
            f"Towns: {towns}\nOne-way roads: {roads}\n"
            "Visit every town exactly once. Start anywhere; each next town must be at the end of a road from the one "
            "before.\nIn which order?"
        )

    def reference(self, public, private):
        return " ".join(str(town) for town in private["path"])

    def verify(self, public, answer, reference):
        parts = re.split(r"\s*(?:->|[\s,])\s*", answer.strip(" []()"))
        if not all(re.fullmatch(r"[0-9]{1,9}", part) for part in parts):
            return 0.0
        path = [int(part) for part in parts]
        if sorted(path) != sorted(public["towns"]):
            return 0.0
        return 1.0 if all([source, target] in public["roads"] for source, target in itertools.pairwise(path)) else 0.0
