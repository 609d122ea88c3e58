import re


def check(prompt, answer):
    count = int(re.search(r"input wires w0 to w(-?\d+)", prompt)[1]) + 1
    bits = answer.strip().replace(" ", "")
    if not re.fullmatch("[01]+", bits) or len(bits) != count:
        return False
    gates = {int(o): (int(a), kind, int(b)) for o, a, kind, b in re.findall(r"^w(\d+) = w(\d+) ([A-Z]+) w(\d+)$", prompt, re.M)}

    def wire(number):
        if number not in gates:
            return bits[number] == "1"
        a, kind, b = gates[number]
        left, right = wire(a), wire(b)
        return {"AND": left and right, "OR": left or right, "XOR": left != right}[kind]

    wanted = re.findall(r"w(\d+) = ([01])\b", re.search(r"Find input values such that (.*)", prompt)[1])
    return all(wire(int(number)) == (value == "1") for number, value in wanted)
