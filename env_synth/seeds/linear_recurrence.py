"""Seed environment: modular linear recurrence."""

import re

# By level: terms looked back at, index asked for, largest modulus (0: none, and each term only adds a constant).
LEVELS = (
    (1, 2, 0),
    (1, 3, 0),
    (1, 4, 99),
    (2, 7, 99),
    (2, 14, 199),
    (2, 30, 499),
    (3, 80, 999),
    (3, 250, 9999),
    (4, 800, 99999),
    (5, 3000, 999999),
)


def term(start, coefficients, constant, index, modulus):
    """Term number `index` (the first is number 1); coefficients[0] belongs to the term just before."""
    window = list(start)
    for _ in range(index - len(start)):
        value = constant + sum(factor * old for factor, old in zip(coefficients, reversed(window), strict=True))
        window = [*window[1:], value % modulus if modulus else value]
    return window[-1]


class LinearRecurrence:
    """A far term of a linear recurrence: one addition at level 0, term 3000 modulo a six-digit number at level 9."""

    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        order, index, largest = LEVELS[level]
        if not largest:
            public = {"start": [rng.randint(1, 9)], "coefficients": [1], "constant": rng.randint(1, 9)}
            return {**public, "index": index, "modulus": 0}, {}
        public = {
            "start": [rng.randint(1, 9) for _ in range(order)],
            "coefficients": [rng.randint(2, 9) for _ in range(order)],
            "constant": rng.randint(1, 9),
            "index": index + rng.randint(0, index // 4),
            "modulus": rng.randint(largest // 2, largest),
        }
        return public, {}

    def render(self, public):
        start, modulus, index = public["start"], public["modulus"], public["index"]
        if not modulus and public["coefficients"] == [1]:
            step = public["constant"]
            total = " + ".join(str(value) for value in [start[0], *[step] * (index - 1)])
            return f"Number 1 is {start[0]}. Each next number is {step} more.\nWhat is {total}, number {index}?"
        shown = ", ".join(f"x({place}) = {value}" for place, value in enumerate(start, 1))
        terms = [f"{factor}*x(n-{back})" for back, factor in enumerate(public["coefficients"], 1)]
        terms.append(str(public["constant"]))
        return (
            f"{shown}. For every n > {len(start)}, x(n) is {' + '.join(terms)}, reduced modulo {modulus} "
            f"to 0..{modulus - 1}.\nWhat is x({index})?"
        )

    def reference(self, public, private):
        return str(term(**public))

    def verify(self, public, answer, reference):
        text = answer.strip()
        if not re.fullmatch(r"[+-]?[0-9]{1,40}", text):
            return 0.0
        return 1.0 if int(text) == int(reference) else 0.0
