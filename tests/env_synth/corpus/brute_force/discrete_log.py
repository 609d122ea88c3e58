import re


def check(prompt, answer):
    prime = int(re.search(r"below (-?\d+) such", prompt)[1])
    base = int(re.search(r"such that (-?\d+) to", prompt)[1])
    rest = int(re.search(r"remainder (-?\d+) when", prompt)[1])
    if not re.fullmatch(r"[0-9]{1,12}", answer.strip()) or not 0 < int(answer) < prime:
        return False
    value, square, power = 1, base, int(answer)
    while power:
        if power % 2:
            value = value * square % prime
        square, power = square * square % prime, power // 2
    return value == rest
