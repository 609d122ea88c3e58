import re


def check(text, answer):
    numbers = [int(number) for number in re.findall(r"[0-9]+", text.split("\n")[0])]
    target = int(re.search(r"add up to ([0-9]+)", text)[1])
    if not re.fullmatch(r"[0-9]{1,30}(?:[ ,]+[0-9]{1,30})*", answer.strip()):
        return False
    chosen = [int(number) for number in re.findall(r"[0-9]+", answer)]
    return len(set(chosen)) == len(chosen) and all(number in numbers for number in chosen) and sum(chosen) == target
