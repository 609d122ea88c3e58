import re


def check(prompt, answer):
    modulus = int(re.search(r"modulo (-?\d+)", prompt)[1])
    parts = answer.replace(",", " ").replace(";", " ").split()
    if not parts or not all(re.fullmatch(r"[0-9]{1,3}", part) and int(part) < modulus for part in parts):
        return False
    lines = [line for line in prompt.splitlines() if "*x1" in line]
    for line in lines:
        terms = re.findall(r"(-?\d+)\*x(\d+)", line)
        if len(terms) != len(parts):
            return False
        left = sum(int(factor) * int(parts[int(i) - 1]) for factor, i in terms)
        if left % modulus != int(line.split(" = ")[1]) % modulus:
            return False
    return True
