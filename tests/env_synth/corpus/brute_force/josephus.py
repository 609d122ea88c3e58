import re


def solve(prompt):
    count = int(re.match(r"(-?\d+) people", prompt)[1])
    every = int(re.search(r"Every (-?\d+)-th", prompt)[1])
    circle = list(range(1, count + 1))
    while len(circle) > 1:
        for _ in range(every - 1):
            circle.append(circle.pop(0))
        circle.pop(0)
    return str(circle[0])
