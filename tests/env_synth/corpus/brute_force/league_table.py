import re


def solve(prompt):
    teams = re.search(r"The teams ([A-Z](?:, [A-Z])*) played", prompt)[1].split(", ")
    games = re.findall(r"^([A-Z]) (-?\d+):(-?\d+) ([A-Z])$", prompt, re.M)

    def standing(team):
        goals = [(int(left), int(right)) for home, left, right, _ in games if home == team]
        goals += [(int(right), int(left)) for _, left, right, away in games if away == team]
        points = sum(3 if own > other else 1 if own == other else 0 for own, other in goals)
        return (-points, sum(other - own for own, other in goals), -sum(own for own, _ in goals), team)

    return " ".join(sorted(teams, key=standing))
