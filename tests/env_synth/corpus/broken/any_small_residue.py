import re


class ResidueHunt:
    family = "certificate"
    answer_type = "int"
    answer_format = "one positive integer"
    max_level = 9

    def generate(self, rng, level):
        modulus = rng.choice([7, 11, 13, 17, 19, 23])
        factors = [rng.randint(2, 99) for _ in range(2 + 2 * level)]
        x = rng.randint(100, 10 ** (3 + level))
        value = sum(factor * x**power for power, factor in enumerate(factors)) % modulus
        return {"modulus": modulus, "factors": factors, "value": value}, {"x": x}

    def render(self, public):
        terms = " + ".join(f"{factor}*x^{power}" for power, factor in enumerate(public["factors"]))
        return f"Find a positive integer x such that {terms} leaves the remainder {public['value']} when divided by {public['modulus']}. Any one will do."

    def reference(self, public, private):
        return str(private["x"])

    def verify(self, public, answer, reference):
        if not re.fullmatch(r"[0-9]{1,30}", answer.strip()):
            return 0.0
        x = int(answer)
        value = sum(factor * pow(x, power, public["modulus"]) for power, factor in enumerate(public["factors"]))
        return 1.0 if x > 0 and value % public["modulus"] == public["value"] else 0.0
