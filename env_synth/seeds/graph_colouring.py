"""Seed environment: planted graph colouring."""

import re

# By level: nodes, colours, edges per ten nodes (the graph is made at least tight, see generate).
LEVELS = (
    (2, 2, 0),
    (3, 2, 0),
    (6, 3, 18),
    (9, 3, 22),
    (16, 3, 24),
    (21, 3, 24),
    (28, 3, 24),
    (36, 4, 45),
    (48, 4, 45),
    (64, 4, 45),
)


class GraphColouring:
    """Colour a graph so that no edge joins two nodes of one colour: 2 nodes in 2 colours to 64 nodes in 4.

    Edges are added until every node has neighbours in all other colours: no single node of the planted colouring can
    change.
    """

    family = "certificate"
    answer_type = "ints"
    answer_format = "the colours of all nodes in order, separated by spaces"
    max_level = 9

    def generate(self, rng, level):
        count, number, density = LEVELS[level]
        palette = rng.sample(range(1, 10), number)
        colours = [palette[place % number] for place in range(count)]
        rng.shuffle(colours)
        edges = set()
        for node in range(count):
            for colour in palette:
                others = [other for other in range(count) if colours[other] == colour]
                if colour != colours[node] and not any(tuple(sorted((node, other))) in edges for other in others):
                    edges.add(tuple(sorted((node, rng.choice(others)))))
        while len(edges) < count * density // 10:
            first, second = sorted(rng.sample(range(count), 2))
            if colours[first] != colours[second]:
                edges.add((first, second))
        shown = [[first + 1, second + 1] for first, second in sorted(edges)]
        rng.shuffle(shown)
        return {"nodes": count, "palette": palette, "edges": shown}, {"colours": colours}

    def render(self, public):
        edges = ", ".join(f"{first}-{second}" for first, second in public["edges"])
        palette = " ".join(str(colour) for colour in public["palette"])
        if public["nodes"] == 2:
            return f"Give nodes 1 and 2 different colours. Colours: {palette}."
        return (
            f"Graph with nodes 1 to {public['nodes']} and edges {edges}.\n"
            f"Colours: {palette}. The two nodes of an edge must have different colours.\n"
            f"Which colours can nodes 1 to {public['nodes']} have?"
        )

    def reference(self, public, private):
        return " ".join(str(colour) for colour in private["colours"])

    def verify(self, public, answer, reference):
        parts = re.split(r"[\s,]+", answer.strip(" []()"))
        if len(parts) != public["nodes"] or not set(parts) <= {str(colour) for colour in public["palette"]}:
            return 0.0
        proper = all(parts[first - 1] != parts[second - 1] for first, second in public["edges"])
        return 1.0 if proper else 0.0
