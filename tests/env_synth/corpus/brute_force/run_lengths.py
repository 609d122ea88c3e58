import re


def solve(prompt):
    word = re.search(r"word ([abc]+)\.", prompt)[1]
    for a, b in re.findall(r"\((-?\d+), (-?\d+)\)", prompt):
        low, high = sorted((int(a), int(b)))
        if low != high:
            word = word[:low] + word[high] + word[low + 1 : high] + word[low] + word[high + 1 :]
    return "".join(f"{len(run[0])}{run[1]}" for run in re.findall(r"((.)\2*)", word))
