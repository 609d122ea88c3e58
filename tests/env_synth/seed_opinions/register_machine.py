import re


def solve(text):
    if text.startswith("Start with"):
        return str(sum(int(number) for number in re.findall(r"[0-9]+", text)))
    start = {name: int(value) for name, value in re.findall(r"([A-F]) = ([0-9]+)", text.split("\n")[0])}
    modulus = re.search(r"reduced modulo ([0-9]+)", text)
    lines = re.findall(r"^(?:[0-9]+: )?(if .*|[A-F] = [A-F] .*)$", text, re.MULTILINE)
    steps = int(re.search(r"when ([0-9]+) lines", text)[1]) if modulus else len(lines)
    place = 0
    while steps > 0:
        line = lines[place % len(lines)]
        steps -= 1
        place += 1
        tested = re.match(r"if ([A-F]) is divisible by ([0-9]+)", line)
        if tested:
            if start[tested[1]] % int(tested[2]) == 0:
                place += 1
            continue
        target, operator, operand = re.match(r"([A-F]) = [A-F] (.) (\S+)", line).groups()
        value = start[operand] if operand in start else int(operand)
        before = start[target]
        start[target] = before + value if operator == "+" else before - value if operator == "-" else before * value
        if modulus:
            start[target] %= int(modulus[1])
    total = sum(start.values())
    return str(total % int(modulus[1]) if modulus else total)
