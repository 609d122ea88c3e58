import re


def solve(prompt):
    count = int(re.match(r"Tasks 1 to (-?\d+)", prompt)[1])
    before = [(int(a), int(b)) for a, b in re.findall(r"(-?\d+) before (-?\d+)", prompt)]
    done = []
    while len(done) < count:
        done.append(
            next(
                task
                for task in range(1, count + 1)
                if task not in done and all(a in done for a, b in before if b == task)
            )
        )
    return " ".join(map(str, done))
