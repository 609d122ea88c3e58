import re


def solve(prompt):
    text = re.search(r"string ([abc]*)\.", prompt)[1]
    rules = re.findall(r"([abc]+) becomes ([abc]+)", prompt)
    for _ in range(int(re.search(r"after (-?\d+) steps", prompt)[1])):
        for left, right in rules:
            place = text.find(left)
            if place >= 0:
                text = text[:place] + right + text[place + len(left) :]
                break
    return text
