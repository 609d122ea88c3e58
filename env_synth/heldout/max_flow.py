"""Held-out environment: largest flow through one-way pipes."""

import itertools
import re

PLACES = (3, 4, 5, 7, 10, 14, 20, 28, 40, 60)  # by level


def largest_flow(pipes, start, goal):
    """Fills shortest ways with room left until there is none; a pipe is [from, to, most it carries]."""
    room = {}
    for source, target, most in pipes:
        room.setdefault(source, {})
        room.setdefault(target, {})
        room[source][target] = room[source].get(target, 0) + most
        room[target].setdefault(source, 0)
    total = 0
    while True:
        came = {start: start}
        reached = [start]
        for place in reached:
            for target, left in room[place].items():
                if left > 0 and target not in came:
                    came[target] = place
                    reached.append(target)
        if goal not in came:
            return total
        way = [goal]
        while way[-1] != start:
            way.append(came[way[-1]])
        added = min(room[source][target] for target, source in itertools.pairwise(way))
        for target, source in itertools.pairwise(way):
            room[source][target] -= added
            room[target][source] += added
        total += added


class MaxFlow:
    """Most that can flow through a network: two pipes in a row at level 0, 60 places and 180 pipes at level 9.

    The goal is always reached: a chain of pipes leads through all places.
    """

    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        count = PLACES[level]
        if level < 2:
            names = rng.sample("ABCDEFGHJKLMNPQRSTUVWXYZ", count)
            if level == 0:
                first, second = rng.sample(range(2, 20), 2)
                pipes = [[names[0], names[1], first], [names[1], names[2], second]]
            else:
                ends = ((0, 1), (1, 3), (0, 2), (2, 3))
                pipes = [[names[source], names[target], rng.randint(2, 9)] for source, target in ends]
            return {"pipes": pipes, "start": names[0], "goal": names[-1]}, {}
        most = 9 if level == 2 else 99
        reach, wanted = (3, 2 * count) if level < 4 else (5, 3 * count)
        pipes = {(place, place + 1): rng.randint(1, most) for place in range(count - 1)}
        while len(pipes) < wanted:
            source = rng.randrange(count - 1)
            target = source + rng.choice((-1, *range(1, reach + 1)))
            if 0 < target < count:
                pipes.setdefault((source, target), rng.randint(1, most))
        for source, target in pipes:  # wide at both ends, so that the narrow place lies between
            if source == 0 or target == count - 1:
                pipes[source, target] = rng.randint(most, 3 * most)
        names = rng.sample(range(1, count + 1), count)
        shown = [[names[source], names[target], carried] for (source, target), carried in pipes.items()]
        rng.shuffle(shown)
        return {"pipes": shown, "start": names[0], "goal": names[-1]}, {}

    def render(self, public):
        start, goal = public["start"], public["goal"]
        if len(public["pipes"]) == 2:
            (_, over, first), (_, _, second) = public["pipes"]
            return (
                f"Water flows from {start} to {over} through a pipe that carries {first} litres a minute, then from {over} to "
                f"{goal} through a pipe that carries {second}.\nHow many litres a minute can reach {goal} at most?"
            )
        pipes = ", ".join(f"{source}->{target} {most}" for source, target, most in public["pipes"])
        return (
            f"One-way pipes, each with the most it can carry in a minute:\n{pipes}\n"
            f"Water comes in at {start} and goes out at {goal}; anywhere else as much flows out as flows in.\n"
            f"What is the most that can flow from {start} to {goal} in a minute?"
        )

    def reference(self, public, private):
        return str(largest_flow(public["pipes"], public["start"], public["goal"]))

    def verify(self, public, answer, reference):
        text = answer.strip()
        if not re.fullmatch(r"[+-]?[0-9]{1,40}", text):
            return 0.0
        return 1.0 if int(text) == int(reference) else 0.0
