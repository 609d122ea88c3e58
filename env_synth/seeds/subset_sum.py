"""Seed environment: planted low-density subset sum."""

import re

SIZES = (2, 3, 6, 10, 18, 22, 28, 36, 46, 60)  # by level: how many numbers are shown


class SubsetSum:
    """Find which of n distinct numbers add up to a target (a subset is planted).

    The numbers grow like 2**n, so few subsets fit: hard to find, one addition to check.
    """

    family = "certificate"
    answer_type = "ints"
    answer_format = "the chosen numbers, separated by spaces"
    max_level = 9

    def generate(self, rng, level):
        size = SIZES[level]
        if level == 0:  # no number is twice another, so that nobody needs to be told to take each once
            numbers = rng.sample(range(10, 20), size)
            chosen = rng.choice(numbers)
            return {"numbers": numbers, "target": chosen}, {"chosen": [chosen]}
        numbers = rng.sample(range(1, 2**size + 2), size)
        chosen = rng.sample(numbers, rng.randint((size + 1) // 2, size // 2 + 1))
        return {"numbers": numbers, "target": sum(chosen)}, {"chosen": chosen}

    def render(self, public):
        shown = " ".join(str(number) for number in public["numbers"])
        rule = "Use each number at most once, in any order.\n" if len(public["numbers"]) > 2 else ""
        return f"Numbers: {shown}\n{rule}Which of these numbers add up to {public['target']}?"

    def reference(self, public, private):
        return " ".join(str(number) for number in private["chosen"])

    def verify(self, public, answer, reference):
        parts = re.split(r"[\s,]+", answer.strip(" []()"))
        if not all(re.fullmatch(r"[0-9]{1,30}", part) for part in parts):
            return 0.0
        chosen = [int(part) for part in parts]
        if len(set(chosen)) != len(chosen) or not set(chosen) <= set(public["numbers"]):
            return 0.0
        return 1.0 if sum(chosen) == public["target"] else 0.0
