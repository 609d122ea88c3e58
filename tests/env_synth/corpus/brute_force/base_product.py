import re


def digit(symbol):
    return int(symbol, 16)


def solve(prompt):
    base = int(re.search(r"written in base (-?\d+)", prompt)[1])
    a, b, c = re.search(r"Compute (\w+) \* (\w+) \+ (\w+) and", prompt).groups()
    sums = [0] * (len(a) + len(b) + len(c) + 2)  # lowest digit first, carries left for the end
    for i, x in enumerate(reversed(a)):
        for j, y in enumerate(reversed(b)):
            sums[i + j] += digit(x) * digit(y)
    for i, x in enumerate(reversed(c)):
        sums[i] += digit(x)
    for i in range(len(sums) - 1):
        sums[i + 1] += sums[i] // base
        sums[i] %= base
    return "".join(f"{n:X}" for n in reversed(sums)).lstrip("0") or "0"
