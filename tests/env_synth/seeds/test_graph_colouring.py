"""The seed graph_colouring against a brute force of its own."""

import re
from itertools import product


def read(prompt):
    edges = [tuple(map(int, edge)) for edge in re.findall(r"(\d+)-(\d+)", prompt)]
    palette = re.search(r"Colours: ([\d ]+)\.", prompt).group(1).split()
    if "nodes 1 and 2" in prompt:
        return 2, [(1, 2)], palette
    return int(re.search(r"nodes 1 to (\d+)", prompt).group(1)), edges, palette


def test_exactly_the_proper_colourings_are_accepted(small_cases):
    for environment, case in small_cases("graph_colouring", count=8, levels=range(3)):
        nodes, edges, palette = read(case.prompt)
        proper = 0
        for colours in product(palette, repeat=nodes):
            expected = 1.0 if all(colours[a - 1] != colours[b - 1] for a, b in edges) else 0.0
            proper += expected
            assert environment.verify(case.public, " ".join(colours), None) == expected
        assert proper >= len(palette)  # colours can at least be renamed


def test_no_single_node_can_change(small_cases):
    for environment, case in small_cases("graph_colouring", count=5, levels=range(6)):
        colours = case.reference.split()
        for node, old in enumerate(colours):
            for new in map(str, range(10)):
                answer = " ".join([*colours[:node], new, *colours[node + 1 :]])
                assert environment.verify(case.public, answer, None) == (1.0 if new == old else 0.0)


def test_wrong_shapes_are_refused(load_seed):
    environment = load_seed("graph_colouring")
    public = {"nodes": 3, "palette": [4, 7], "edges": [[1, 2], [2, 3]]}
    assert environment.verify(public, "4 7 4", None) == 1.0
    for wrong in ("4 7", "4 7 4 7", "4 7 1", "1 2 1", "04 7 4", "4 7 4 x"):
        assert environment.verify(public, wrong, None) == 0.0
