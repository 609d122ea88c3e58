import re


def check(text, answer):
    parts = answer.split()
    if text.startswith("A road"):
        return parts == re.search(r"Road: ([0-9 ]+)", text)[1].split()
    towns = re.search(r"Towns: ([0-9 ]+)", text)[1].split()
    roads = re.findall(r"([0-9]+)->([0-9]+)", text)
    if sorted(parts) != sorted(towns):
        return False
    return all((parts[place], parts[place + 1]) in roads for place in range(len(parts) - 1))
