import re


def check(prompt, answer):
    product = int(re.search(r"number (-?\d+) is", prompt)[1])
    found = re.fullmatch(r"\s*(\d{1,20})[\s,x*]+(\d{1,20})\s*", answer)
    return bool(found) and min(int(found[1]), int(found[2])) > 1 and int(found[1]) * int(found[2]) == product
