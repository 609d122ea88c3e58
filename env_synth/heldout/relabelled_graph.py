"""Held-out environment: a planted renumbering of a graph."""

import re

# By level: towns, roads.
LEVELS = ((3, 2), (4, 3), (5, 6), (7, 10), (9, 14), (12, 18), (16, 24), (22, 44), (30, 60), (42, 84))


class RelabelledGraph:
    """Tell which town is which on two maps of the same roads: three towns at level 0, 42 towns with 84 roads at level 9.

    All towns have about as many roads, so that counting them tells little.
    """

    family = "certificate"
    answer_type = "ints"
    answer_format = "the numbers on the second map, separated by spaces"
    max_level = 9

    def generate(self, rng, level):
        count, number = LEVELS[level]
        roads = {town: set() for town in range(count)}
        for _ in range(number):
            towns = sorted(rng.sample(range(count), count), key=lambda town: len(roads[town]))
            first = next(town for town in towns if len(roads[town]) < count - 1)
            second = next(town for town in towns if town != first and town not in roads[first])
            roads[first].add(second)
            roads[second].add(first)
        names = rng.sample(range(count + 1, 3 * count + 4), count)
        pairs = [(town, other) for town in range(count) for other in roads[town] if town < other]
        maps = [[rng.sample((town + 1, other + 1), 2) for town, other in pairs]]
        maps.append([rng.sample((names[town], names[other]), 2) for town, other in pairs])
        for shown in maps:
            rng.shuffle(shown)
        return {"towns": count, "first": maps[0], "second": maps[1]}, {"names": names}

    def render(self, public):
        first, second = (", ".join(f"{town}-{other}" for town, other in public[name]) for name in ("first", "second"))
        count = public["towns"]
        towns = "1, 2 and 3" if count == 3 else f"1 to {count}"
        return (
            f"Roads on the first map: {first}\nRoads on the second map: {second}\n"
            "Both maps show the same roads, with other numbers for the towns.\n"
            f"Which numbers can towns {towns} have on the second map, in this order?"
        )

    def reference(self, public, private):
        return " ".join(str(name) for name in private["names"])

    def verify(self, public, answer, reference):
        parts = re.split(r"[\s,]+", answer.strip(" []()"))
        if not all(re.fullmatch(r"[0-9]{1,6}", part) for part in parts):
            return 0.0
        names = [int(part) for part in parts]
        towns = {town for road in public["second"] for town in road}
        if len(names) != public["towns"] or set(names) != towns:
            return 0.0
        found = [sorted((names[town - 1], names[other - 1])) for town, other in public["first"]]
        return 1.0 if sorted(found) == sorted(sorted(road) for road in public["second"]) else 0.0
