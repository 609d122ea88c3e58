import re


def check(prompt, answer):
    size = int(re.search(r"Find (-?\d+) people", prompt)[1])
    known = {frozenset((int(a), int(b))) for a, b in re.findall(r"(\d+)-(\d+)", prompt)}
    if not re.fullmatch(r"\s*\d{1,6}(?:[\s,]+\d{1,6})*\s*", answer):
        return False
    group = [int(n) for n in re.findall(r"\d+", answer)]
    if len(group) != size or len(set(group)) != size:
        return False
    return all(frozenset((a, b)) in known for a in group for b in group if a < b)
