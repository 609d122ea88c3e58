import re
from functools import cache


def solve(text):
    insert, delete, change = map(int, re.findall(r"costs ([0-9]+)", text))
    source, target = re.search(r"turn (\w+) into (\w+)", text).groups()

    @cache
    def cost(i, j):
        if i == len(source):
            return insert * (len(target) - j)
        if j == len(target):
            return delete * (len(source) - i)
        options = [delete + cost(i + 1, j), insert + cost(i, j + 1)]
        options.append(cost(i + 1, j + 1) + (0 if source[i] == target[j] else change))
        return min(options)

    return str(cost(0, 0))
