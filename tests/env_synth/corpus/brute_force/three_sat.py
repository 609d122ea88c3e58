import re


def check(prompt, answer):
    count = int(re.search(r"x1 to x(-?\d+)", prompt)[1])
    answer = answer.strip().upper()
    if not re.fullmatch(r"[TF]+", answer) or len(answer) != count:
        return False
    for line in prompt.splitlines()[1:-1]:
        literals = re.findall(r"(not )?x(\d+)", line)
        if not any((answer[int(n) - 1] == "F") if negated else (answer[int(n) - 1] == "T") for negated, n in literals):
            return False
    return True
