import re


def solve(prompt):
    tills = int(re.search(r"has (-?\d+) tills", prompt)[1])
    customers = [(int(a), int(n)) for a, n in re.findall(r"arrives at minute (-?\d+), needs (-?\d+) minutes", prompt)]
    lines = [[] for _ in range(tills)]  # the minutes at which somebody is served
    total = 0
    for arrival, need in customers:
        ends = [max([arrival, *(minute + 1 for minute in line)]) for line in lines]
        chosen = min(range(tills), key=lambda till: (ends[till], till))
        total += ends[chosen] - arrival
        lines[chosen] += range(ends[chosen], ends[chosen] + need)
    return str(total)
