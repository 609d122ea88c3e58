import re


def check(prompt, answer):
    count = int(re.match(r"Stations 1 to (-?\d+)", prompt)[1])
    size = int(re.search(r"exactly (-?\d+) different", prompt)[1])
    lines = re.findall(r"(\d+)-(\d+)", prompt)
    if not re.fullmatch(r"\s*\d{1,4}(?:[,\s]+\d{1,4})*\s*", answer):
        return False
    chosen = [int(n) for n in re.findall(r"\d+", answer)]
    if len(chosen) != size or len(set(chosen)) != size or min(chosen) < 1 or max(chosen) > count:
        return False
    return not any(int(a) not in chosen and int(b) not in chosen for a, b in lines)
