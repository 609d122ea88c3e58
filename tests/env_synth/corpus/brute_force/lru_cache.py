import re


def solve(prompt):
    room = int(re.search(r"at most (-?\d+) pages", prompt)[1])
    requests = re.search(r"in this order: ([0-9, -]+)\.", prompt)[1].split(", ")
    pinned = re.search(r"Page (-?\d+) is pinned", prompt)[1]
    recent = []  # most recently used first
    for page in requests:
        if page in recent:
            recent.remove(page)
        elif len(recent) >= room:
            for old in recent[::-1]:
                if old != pinned:
                    recent.remove(old)
                    break
        recent.insert(0, page)
    return " ".join(recent)
