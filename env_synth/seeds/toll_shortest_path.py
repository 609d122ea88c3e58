"""Seed environment: shortest path with toll states."""

import heapq
import re

TOWNS = (3, 3, 6, 8, 11, 15, 22, 32, 46, 64)  # by level


def lowest_cost(roads, start, goal, tolls):
    """Dijkstra over (town, toll roads taken); a road is [from, to, cost, 1 if it charges a toll]."""
    leaving = {}
    for source, target, cost, toll in roads:
        leaving.setdefault(source, []).append((target, cost, toll))
    queue = [(0, start, 0)]
    done = set()
    while queue:
        total, town, used = heapq.heappop(queue)
        if town == goal:
            return total
        if (town, used) in done:
            continue
        done.add((town, used))
        for target, cost, toll in leaving.get(town, []):
            if used + toll <= tolls:
                heapq.heappush(queue, (total + cost, target, used + toll))
    return -1


class TollShortestPath:
    """Cheapest route over one-way roads with a limit on toll roads: two roads at level 0, 64 towns at level 9.

    A chain of toll-free roads visits every town, so that a route always exists.
    """

    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        count = TOWNS[level]
        if level < 2:
            towns = rng.sample("ABCDEFGH", 3)
            first, second, direct = *rng.sample(range(1, 10), 2), rng.randint(2, 18)
            roads = [[towns[0], towns[2], first, 0], [towns[0], towns[2], second, 0]]
            if level == 1:
                roads = [[towns[0], towns[2], direct, 0], [*towns[:2], first, 0], [*towns[1:], second, 0]]
            return {"roads": roads, "start": towns[0], "goal": towns[2], "tolls": 0}, {}
        low, high = (11, 99) if level < 6 else (101, 999)
        towns = rng.sample(range(1, count + 1), count)
        roads = {(town, town + 1): [rng.randint(high // 2, high), 0] for town in range(count - 1)}
        while len(roads) < 3 * count:
            source = rng.randrange(count)
            target = source + rng.choice((-2, -1, 1, 2, 2, 3))
            if 0 <= target < count and (source, target) not in roads:
                toll = rng.randint(0, 1)
                roads[source, target] = [rng.randint(low, high // 2 if toll else high), toll]
        shown = [[towns[source], towns[target], *road] for (source, target), road in roads.items()]
        rng.shuffle(shown)
        return {"roads": shown, "start": towns[0], "goal": towns[-1], "tolls": rng.randint(1, 1 + count // 8)}, {}

    def render(self, public):
        start, goal = public["start"], public["goal"]
        if len(public["roads"]) == 2:
            first, second = (road[2] for road in public["roads"])
            return (
                f"One road from {start} to {goal} costs {first}, the other costs {second}.\n"
                f"What is the lowest cost from {start} to {goal}?"
            )
        if public["tolls"] == 0:
            (_, _, direct, _), (_, over, first, _), (_, _, second, _) = public["roads"]
            return (
                f"From {start} to {goal} costs {direct}. The way over {over} costs {first} + {second}.\n"
                f"What is the lowest cost from {start} to {goal}?"
            )
        roads = ", ".join(f"{road[0]}->{road[1]} {road[2]}{'*' if road[3] else ''}" for road in public["roads"])
        return (
            f"One-way roads between towns, each with its cost; * marks a toll road:\n{roads}\n"
            f"A route may take toll roads at most {public['tolls']} times in all.\n"
            f"What is the lowest total cost of a route from town {start} to town {goal}?"
        )

    def reference(self, public, private):
        return str(lowest_cost(public["roads"], public["start"], public["goal"], public["tolls"]))

    def verify(self, public, answer, reference):
        text = answer.strip()
        if not re.fullmatch(r"[+-]?[0-9]{1,40}", text):
            return 0.0
        return 1.0 if int(text) == int(reference) else 0.0
