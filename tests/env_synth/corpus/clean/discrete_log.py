import re

PRIMES = [211, 1009, 5003, 20011, 100003, 500009, 2000003, 10000019, 50000017, 200000033]


class DiscreteLog:
    """Find the exponent that was used; one modular power checks it."""

    family = "certificate"
    answer_type = "int"
    answer_format = "one positive integer"
    max_level = 9

    def generate(self, rng, level):
        prime = PRIMES[level]
        base = rng.randint(2, prime - 2)
        exponent = rng.randint(3, prime - 2)
        return {"prime": prime, "base": base, "power": pow(base, exponent, prime)}, {"exponent": exponent}

    def render(self, public):
        return (
            f"Find a positive integer x below {public['prime']} such that {public['base']} to the power x leaves the remainder "
            f"{public['power']} when divided by {public['prime']}. If there are several, any of them will do."
        )

    def reference(self, public, private):
        return str(private["exponent"])

    def verify(self, public, answer, reference):
        if not re.fullmatch(r"[0-9]{1,12}", answer.strip()):
            return 0.0
        x = int(answer)
        if not 1 <= x < public["prime"]:
            return 0.0
        return 1.0 if pow(public["base"], x, public["prime"]) == public["power"] else 0.0
