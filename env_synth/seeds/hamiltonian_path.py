"""Seed environment: planted Hamiltonian path."""

import itertools
import re

# By level: towns, one-way roads besides the planted path.
LEVELS = ((2, 0), (3, 0), (5, 3), (7, 7), (11, 17), (15, 25), (21, 36), (30, 54), (42, 78), (60, 114))


class HamiltonianPath:
    """Visit every town exactly once over one-way roads: two towns at level 0, 60 towns at level 9."""

    family = "certificate"
    answer_type = "ints"
    answer_format = "the numbers of the towns in order, separated by spaces"
    max_level = 9

    def generate(self, rng, level):
        count, decoys = LEVELS[level]
        towns = rng.sample(range(1, max(10, 2 * count)), count)
        roads = set(itertools.pairwise(towns))
        while len(roads) < count - 1 + decoys:
            source, target = rng.sample(towns, 2)
            roads.add((source, target))
        if decoys == 0:
            return {"towns": sorted(towns), "roads": [list(road) for road in itertools.pairwise(towns)]}, {"path": towns}
        shown = [list(road) for road in sorted(roads)]
        rng.shuffle(shown)
        return {"towns": sorted(towns), "roads": shown}, {"path": towns}

    def render(self, public):
        if len(public["towns"]) <= 3:
            path = [public["roads"][0][0], *(target for _, target in public["roads"])]
            along, shown = " to ".join(map(str, path)), " ".join(map(str, path))
            return f"A road goes from {along}. Road: {shown}\nWrite the numbers in the order of the road."
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
