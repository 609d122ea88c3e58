"""Seed environment: weighted edit distance."""

import re

# By level: letters of the first word, edits that make the second word from it, alphabet, largest cost.
LEVELS = (
    (2, 1, "abcdehilnorst", 9),
    (4, 2, "abcdehilnorst", 9),
    (5, 3, "abcde", 59),
    (7, 5, "abcde", 59),
    (10, 8, "abcd", 59),
    (14, 11, "abcd", 59),
    (20, 16, "abcd", 59),
    (30, 25, "abc", 59),
    (45, 38, "abc", 59),
    (70, 60, "abc", 59),
)


def cheapest(source, target, insert, delete, change):
    """Lowest cost of turning source into target, row by row over the prefixes of source."""
    costs = [column * insert for column in range(len(target) + 1)]
    for row, old in enumerate(source, 1):
        above, costs = costs, [row * delete]
        for column, new in enumerate(target, 1):
            kept = above[column - 1] + (0 if old == new else change)
            costs.append(min(kept, above[column] + delete, costs[-1] + insert))
    return costs[-1]


class EditDistance:
    """Lowest cost of turning one word into another: one edit of a short word at level 0, 70 letters at level 9."""

    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        length, edits, alphabet, highest = LEVELS[level]
        length += rng.randint(0, 1 + length // 5)
        source = "".join(rng.choice(alphabet) for _ in range(length))
        target = source
        wanted = edits + rng.randint(0, edits // 3)
        while wanted > 0 or target == source:
            wanted -= 1
            place = rng.randrange(len(target))
            removed = rng.randint(0, 1) if len(target) > 1 else 0
            added = rng.choice(alphabet) if removed == 0 or rng.random() < 0.5 else ""
            target = target[:place] + added + target[place + removed :]
        insert, delete = rng.randint(1 + highest // 6, highest), rng.randint(1 + highest // 6, highest)
        change = rng.randint(1 + max(insert, delete) // 2, insert + delete)
        return {"source": source, "target": target, "costs": [insert, delete, change]}, {}

    def render(self, public):
        insert, delete, change = public["costs"]
        return (
            f"Adding a letter costs {insert}, removing a letter costs {delete}, changing a letter costs {change}.\n"
            f"What is the lowest total cost to turn {public['source']} into {public['target']}?"
        )

    def reference(self, public, private):
        return str(cheapest(public["source"], public["target"], *public["costs"]))

    def verify(self, public, answer, reference):
        text = answer.strip()
        if not re.fullmatch(r"[+-]?[0-9]{1,40}", text):
            return 0.0
        return 1.0 if int(text) == int(reference) else 0.0
