import re


def check(prompt, answer):
    top = int(re.search(r"from 1 to (-?\d+)", prompt)[1])
    sets = {name: items.split() for name, items in re.findall(r"^([A-Z]): ([0-9 ]+)$", prompt, re.M)}
    names = answer.replace(",", " ").split()
    if any(name not in sets for name in names) or len(names) != len(set(names)):
        return False
    return all(sum(sets[name].count(str(n)) for name in names) == 1 for n in range(1, top + 1)) and all(
        1 <= int(item) <= top for name in names for item in sets[name]
    )
