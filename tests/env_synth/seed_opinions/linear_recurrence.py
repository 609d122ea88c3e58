import re


def solve(text):
    if text.startswith("Number 1"):
        return str(sum(map(int, re.findall(r"[0-9]+", text.split("What is ")[1].split(",")[0]))))
    values = {int(n): int(value) for n, value in re.findall(r"x\(([0-9]+)\) = ([0-9]+)", text)}
    factors = [(int(factor), int(back)) for factor, back in re.findall(r"([0-9]+)\*x\(n-([0-9]+)\)", text)]
    constant, modulus = map(int, re.search(r"\+ ([0-9]+), reduced modulo ([0-9]+)", text).groups())
    wanted = int(re.search(r"What is x\(([0-9]+)\)", text)[1])
    while wanted not in values:
        n = max(values) + 1
        values[n] = (constant + sum(factor * values[n - back] for factor, back in factors)) % modulus
    return str(values[wanted])
