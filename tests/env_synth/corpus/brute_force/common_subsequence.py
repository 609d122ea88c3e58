import re
from itertools import combinations


def words(text):
    return {"".join(chosen) for size in range(len(text) + 1) for chosen in combinations(text, size)}


def solve(prompt):
    price = {letter: int(n) for letter, n in re.findall(r"([a-z]) = (-?\d+)", prompt)}
    first, second = re.search(r"got from ([a-z]*) by deleting letters and also from ([a-z]*) by", prompt).groups()
    return str(max(sum(price[letter] for letter in word) for word in words(first) & words(second)))
