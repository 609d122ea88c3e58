"""The seed toll_shortest_path against a brute force of its own."""

import re


def cheapest_simple_route(roads, start, goal, tolls):
    """Walks every route without repeated towns (with positive costs no repeat can pay off)."""
    best = []

    def walk(town, seen, total, used):
        if town == goal:
            best.append(total)
            return
        for source, target, cost, toll in roads:
            if source == town and target not in seen and used + toll <= tolls:
                walk(target, seen | {target}, total + cost, used + toll)

    walk(start, {start}, 0, 0)
    return min(best)


def read(prompt):
    if "costs" in prompt.split("What")[0]:
        start, goal, cost = re.search(r"rom (\w) to (\w) costs (\d+)", prompt).groups()
        parallel = re.search(r"the other costs (\d+)", prompt)
        if parallel:
            second = [(start, goal, int(parallel.group(1)), 0)]
        else:
            over, on, last = re.search(r"over (\w) costs (\d+) \+ (\d+)", prompt).groups()
            second = [(start, over, int(on), 0), (over, goal, int(last), 0)]
        roads = [(start, goal, int(cost), 0), *second]
        tolls = 0
    else:
        found = re.findall(r"(\d+)->(\d+) (\d+)(\*?)", prompt)
        roads = [(a, b, int(c), len(star)) for a, b, c, star in found]
        tolls = int(re.search(r"at most (\d+) times", prompt).group(1))
    start, goal = re.search(r"from (?:town )?(\w+) to (?:town )?(\w+)\?", prompt).groups()
    return roads, start, goal, tolls


def test_reference_is_the_best_simple_route(small_cases):
    for _, case in small_cases("toll_shortest_path"):
        assert case.reference == str(cheapest_simple_route(*read(case.prompt))), case.prompt


def test_the_toll_limit_matters(small_cases):
    changed = 0
    for environment, case in small_cases("toll_shortest_path", count=30, levels=(3,)):
        free = environment.reference({**case.public, "tolls": 99}, {})
        changed += free != case.reference
    assert changed >= 5
