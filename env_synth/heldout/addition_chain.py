"""Held-out environment: a planted chain of sums."""

import re

SUMS = (2, 3, 4, 6, 9, 13, 19, 27, 40, 58)  # by level


def usual_length(factor):
    """Sums it takes to reach so many times the start by doubling and adding the start."""
    return len(bin(factor)) + bin(factor).count("1") - 4


class AdditionChain:
    """Reach a number by few sums of earlier numbers: two sums at level 0, 58 sums at level 9.

    From level 3 up there is one number to start with, and doubling and adding it takes more sums than are allowed.
    """

    family = "certificate"
    answer_type = "ints"
    answer_format = "the sums in the order they are made, separated by spaces"
    max_level = 9

    def generate(self, rng, level):
        count = SUMS[level]
        start = rng.sample(range(2, 10 if level == 0 else 30), 2) if level < 2 else [rng.randint(2, 299)]
        while True:
            known = list(start)
            for _ in range(count):
                known.append(known[-1] + (known[-1] if rng.random() < 0.65 else rng.choice(known)))
            if level < 3 or usual_length(known[-1] // start[0]) > count:
                return {"start": start, "target": known[-1], "sums": count}, {"chain": known[len(start) :]}

    def render(self, public):
        start = " and ".join(str(number) for number in public["start"])
        target, count = public["target"], public["sums"]
        if count == 2:
            return (
                f"Start with {start}. Add two numbers that you have, or one of them twice, and you have their sum too.\n"
                f"Reach {target} with at most two sums. Which sums?"
            )
        return (
            f"Start with {start}. In each step add two numbers you have, or one of them twice, and you have their sum too.\n"
            f"Which sums lead to {target} in at most {count} steps? The last sum is {target}."
        )

    def reference(self, public, private):
        return " ".join(str(total) for total in private["chain"])

    def verify(self, public, answer, reference):
        parts = re.split(r"[\s,]+", answer.strip(" []()"))
        if len(parts) > public["sums"] or not all(re.fullmatch(r"[0-9]{1,40}", part) for part in parts):
            return 0.0
        known = list(public["start"])
        for total in map(int, parts):
            if not any(total - number in known for number in known):
                return 0.0
            known.append(total)
        return 1.0 if known[-1] == public["target"] else 0.0
