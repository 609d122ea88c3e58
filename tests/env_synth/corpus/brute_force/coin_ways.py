import re


def solve(prompt):
    coins = [int(n) for n in re.search(r"worth ([0-9, ]+)\.", prompt)[1].split(",")]
    target = int(re.search(r"exactly (-?\d+)", prompt)[1])

    def ways(place, rest):
        if place == len(coins):
            return int(rest == 0)
        return sum(ways(place + 1, rest - used) for used in range(0, rest + 1, coins[place])) if rest >= 0 else 0

    return str(ways(0, target))
