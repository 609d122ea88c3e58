import re
from functools import cmp_to_key


def solve(prompt):
    order = re.search(r"ordered ([a-z](?: < [a-z])*)\.", prompt)[1].split(" < ")
    words = prompt.split(": ")[-1].split()

    def compare(left, right):
        for a, b in zip(left, right):
            if a != b:
                return order.index(a) - order.index(b)
        return len(left) - len(right)

    return " ".join(sorted(words, key=cmp_to_key(compare)))
