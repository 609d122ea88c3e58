import re


def is_prime(n):
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))


class Semiprime:
    family = "certificate"
    answer_type = "ints"
    answer_format = "the two factors separated by a space"
    max_level = 9

    def generate(self, rng, level):
        low = 10 ** (1 + level // 3) + 7 * level * level
        found = []
        while len(found) < 2:
            n = rng.randrange(low, 4 * low) | 1
            if is_prime(n) and n not in found:
                found.append(n)
        return {"product": found[0] * found[1]}, {"factors": found}

    def render(self, public):
        return f"The number {public['product']} is the product of two whole numbers that are both greater than 1. Find the two."

    def reference(self, public, private):
        return " ".join(map(str, private["factors"]))

    def verify(self, public, answer, reference):
        found = re.fullmatch(r"\s*([0-9]{1,20})[\s,x*]+([0-9]{1,20})\s*", answer)
        if not found:
            return 0.0
        a, b = int(found[1]), int(found[2])
        return 1 if a > 1 and b > 1 and a * b == public["product"] else 0
