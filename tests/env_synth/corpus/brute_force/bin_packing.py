import re


def check(prompt, answer):
    boxes = int(re.search(r"into (-?\d+) boxes", prompt)[1])
    sizes = [int(n) for n in re.search(r"to -?\d+: ([0-9, -]+)\.", prompt)[1].split(", ")]
    capacity = int(re.search(r"exactly (-?\d+)", prompt)[1])
    parts = answer.replace(",", " ").split()
    if len(parts) != len(sizes) or not all(re.fullmatch(r"[0-9]{1,3}", part) and 1 <= int(part) <= boxes for part in parts):
        return False
    return all(sum(size for size, part in zip(sizes, parts) if int(part) == box) == capacity for box in range(1, boxes + 1))
