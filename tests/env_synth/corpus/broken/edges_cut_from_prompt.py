from dataclasses import dataclass


@dataclass(order=True)
class Road:
    length: int
    start: int
    end: int


class UnionFind:
    def __init__(self, size):
        self.parent = list(range(size))

    def find(self, item):
        while self.parent[item] != item:
            self.parent[item] = self.parent[self.parent[item]]
            item = self.parent[item]
        return item

    def union(self, a, b):
        a, b = self.find(a), self.find(b)
        self.parent[a] = b
        return a != b


class SpanningTree:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        towns = 4 + 2 * level
        roads = {}
        for town in range(1, towns):
            roads[(rng.randrange(town), town)] = rng.randint(1, 60)
        for _ in range(2 * towns):
            a, b = sorted(rng.sample(range(towns), 2))
            roads.setdefault((a, b), rng.randint(1, 60))
        listed = [[a, b, length] for (a, b), length in roads.items()]
        rng.shuffle(listed)
        return {"towns": towns, "roads": listed}, {}

    def render(self, public):
        lines = "\n".join(f"{a} - {b}: {length}" for a, b, length in public["roads"][:4])
        return (
            f"Towns 0 to {public['towns'] - 1} can be joined by these roads (with their lengths):\n{lines}\n"
            "Choose roads so that every town can be reached from every other and the total length is as small as possible. "
            "What is that total length?"
        )

    def _sorted_roads(self, public):
        return sorted(Road(length, a, b) for a, b, length in public["roads"])

    def reference(self, public, private):
        joined = UnionFind(public["towns"])
        return str(sum(road.length for road in self._sorted_roads(public) if joined.union(road.start, road.end)))

    def verify(self, public, answer, reference):
        try:
            value = int(answer.strip())
        except (ValueError, OverflowError):
            return 0.0
        return 1.0 if value == int(reference) else 0.0
