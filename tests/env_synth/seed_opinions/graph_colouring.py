import re


def check(text, answer):
    colours = answer.split()
    if text.startswith("Give nodes"):
        return len(colours) == 2 and colours[0] != colours[1] and set(colours) <= set(re.findall(r"[0-9]+", text.split(":")[1]))
    count = int(re.search(r"nodes 1 to ([0-9]+)", text)[1])
    palette = re.search(r"Colours: ([0-9 ]+)\.", text)[1].split()
    edges = re.findall(r"([0-9]+)-([0-9]+)", text.split("\n")[0])
    if len(colours) != count or not set(colours) <= set(palette):
        return False
    return all(colours[int(a) - 1] != colours[int(b) - 1] for a, b in edges)
