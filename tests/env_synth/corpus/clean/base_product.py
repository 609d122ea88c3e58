DIGITS = "0123456789ABCDEF"


def to_base(number, base):
    text = ""
    while number:
        number, digit = divmod(number, base)
        text = DIGITS[digit] + text
    return text or "0"


class BaseProduct:
    family = "compute"
    answer_type = "word"
    answer_format = "the result written in the stated base, digits 0-9 and A-F"
    max_level = 9

    def generate(self, rng, level):
        base = rng.choice([3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 16])
        low, high = base ** (1 + level), base ** (2 + level)
        return {
            "base": base,
            "a": to_base(rng.randrange(low, high), base),
            "b": to_base(rng.randrange(low, high), base),
            "c": to_base(rng.randrange(low), base),
        }, {}

    def render(self, public):
        return (
            f"All numbers here are written in base {public['base']} (digits after 9 are A, B, C, D, E and F, as far as the base has them). "
            f"Compute {public['a']} * {public['b']} + {public['c']} and write the result in base {public['base']}."
        )

    def reference(self, public, private):
        base = public["base"]
        return to_base(int(public["a"], base) * int(public["b"], base) + int(public["c"], base), base)

    def verify(self, public, answer, reference):
        text = answer.strip().upper()
        return 1.0 if text and len(text) < 200 and text.lstrip("0") == reference.lstrip("0") else 0.0
