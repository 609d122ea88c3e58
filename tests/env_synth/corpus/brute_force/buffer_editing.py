import re


def solve(prompt):
    line = list(re.search(r"reads ([a-z]*)\.", prompt)[1])
    place = int(re.search(r"index (-?\d+), counting", prompt)[1])
    before, after = line[:place], line[place:]
    for command in re.search(r"Execute in order: (.*)", prompt)[1].split():
        kind, argument = command[0], command[1:]
        if kind == "L":
            for _ in range(int(argument)):
                if before:
                    after.insert(0, before.pop())
        elif kind == "R":
            for _ in range(int(argument)):
                if after:
                    before.append(after.pop(0))
        elif kind == "I":
            before += argument
        elif kind == "D":
            after = after[1:]
        elif kind == "B":
            before = before[:-1]
        elif kind == "H":
            before, after = [], before + after
        else:
            before, after = before + after, []
    return "".join(before + after)
