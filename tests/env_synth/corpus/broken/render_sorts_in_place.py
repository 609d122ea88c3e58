import re


def best_sum(values):
    best = []
    for place, value in enumerate(values):
        best.append(value + max([best[j] for j in range(place) if values[j] < value], default=0))
    return max(best)


class IncreasingSum:
    """Largest sum of a strictly increasing subsequence."""

    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        size = 4 + 3 * level
        return {"values": [rng.randint(1, 99) for _ in range(size)]}, {}

    def render(self, public):
        public["values"].sort()
        shown = ", ".join(str(value) for value in public["values"])
        return (
            f"Consider the sequence {shown}. A subsequence keeps the order but may skip elements. "
            "Among all strictly increasing subsequences, what is the largest possible sum of elements?"
        )

    def reference(self, public, private):
        return str(best_sum(public["values"]))

    def verify(self, public, answer, reference):
        return 1.0 if re.fullmatch(r"\d{1,9}", answer) and int(answer) == int(reference) else 0.0
