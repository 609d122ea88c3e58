import re


def check(prompt, answer):
    side = int(re.search(r"in this (-?\d+) by", prompt)[1])
    shown = " ".join(line for line in prompt.splitlines() if re.fullmatch(r"[0-9? ]+", line)).split()
    rows = [int(n) for n in re.search(r"row sums must be ([0-9, -]+) \(", prompt)[1].split(", ")]
    columns = [int(n) for n in re.search(r"column sums ([0-9, -]+) \(", prompt)[1].split(", ")]
    parts = answer.replace(",", " ").split()
    if len(parts) != side * side or not all(re.fullmatch("[0-9]{1,3}", part) for part in parts):
        return False
    values = [int(part) for part in parts]
    if set(values) != set(range(1, side * side + 1)):
        return False
    if any(mark != "?" and int(mark) != value for mark, value in zip(shown, values, strict=True)):
        return False
    return all(sum(values[i * side : i * side + side]) == rows[i] for i in range(side)) and all(
        sum(values[i::side]) == columns[i] for i in range(side)
    )
