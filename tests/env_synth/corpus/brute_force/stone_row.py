import re


def solve(prompt):
    coins = [int(n) for n in re.search(r"in a row: ([0-9 -]+)\.", prompt)[1].split()]

    def play(row, ann, ben, turn):
        if not row:
            return ann - ben
        results = [
            play(rest, ann + coin * (1 - turn), ben + coin * turn, 1 - turn)
            for coin, rest in ((row[0], row[1:]), (row[-1], row[:-1]))
        ]
        return min(results) if turn else max(results)

    return str(play(coins, 0, 0, 0))
