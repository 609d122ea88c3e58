import re


def solve(prompt):
    x, y, side, _ = (int(n) for n in re.search(r"x=(-?\d+), y=(-?\d+) on a (-?\d+) by (-?\d+)", prompt).groups())
    ahead = (0, -1)
    for move in re.split(r"\s+", prompt.split("\n")[1]):
        if move == "L":
            ahead = (ahead[1], -ahead[0])
        elif move == "R":
            ahead = (-ahead[1], ahead[0])
        else:
            for _ in range(int(move[1:])):
                x, y = (x + ahead[0]) % side, (y + ahead[1]) % side
    return f"{x} {y}"
