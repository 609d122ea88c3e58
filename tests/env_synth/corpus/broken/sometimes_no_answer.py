import re


class LongestStreak:
    family = "compute"
    answer_type = "ints"
    answer_format = "the numbers, separated by spaces"
    max_level = 9

    def generate(self, rng, level):
        return {"numbers": [rng.randint(10, 99) for _ in range(9 + 6 * level)], "limit": rng.randint(30, 60)}, {}

    def render(self, public):
        return (
            f"Numbers: {' '.join(map(str, public['numbers']))}. Remove every number that is even, every number that is divisible by 3 and every number "
            f"below {public['limit']}. Write what is left, in the same order."
        )

    def reference(self, public, private):
        return " ".join(str(n) for n in public["numbers"] if n % 2 and n % 3 and n >= public["limit"])

    def verify(self, public, answer, reference):
        return 1.0 if re.split(r"[\s,]+", answer.strip()) == re.split(r"[\s,]+", reference) else 0.0
