import math
import re

PRIMES = [3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41]


class Remainders:
    family = "compute"
    answer_type = "int"
    answer_format = "one non-negative integer"
    max_level = 9

    def generate(self, rng, level):
        moduli = rng.sample(PRIMES, min(2 + level, 10))
        secret = rng.randrange(math.prod(moduli))
        return {"conditions": [[secret % modulus, modulus] for modulus in moduli]}, {}

    def render(self, public):
        parts = [f"x mod {modulus} = {rest}" for rest, modulus in public["conditions"]]
        return "Find the smallest non-negative integer x with " + " and ".join(parts) + f". (case {self.reference(public, None)})"

    def reference(self, public, private):
        x, step = 0, 1
        for rest, modulus in public["conditions"]:
            while x % modulus != rest:
                x += step
            step *= modulus
        return str(x)

    def verify(self, public, answer, reference):
        if re.fullmatch(r"\+?[0-9]{1,40}", answer.strip()) is None:
            return 0.0
        return 1.0 if int(answer) == int(reference) else 0.0
