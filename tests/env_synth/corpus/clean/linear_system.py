import re


class LinearSystem:
    family = "certificate"
    answer_type = "ints"
    answer_format = "the values of x1, x2, ... in order, separated by spaces"
    max_level = 8

    def generate(self, rng, level):
        count = 2 + level // 2
        modulus = rng.choice([11, 13, 17, 19, 23, 29, 31, 37])
        solution = [rng.randrange(modulus) for _ in range(count)]
        rows = []
        for _ in range(count + 1):
            factors = [rng.randrange(1, modulus) for _ in range(count)]
            rows.append([factors, sum(f * x for f, x in zip(factors, solution)) % modulus])
        return {"modulus": modulus, "rows": rows}, {"solution": solution}

    def render(self, public):
        lines = "\n".join(
            " + ".join(f"{factor}*x{i}" for i, factor in enumerate(factors, 1)) + f" = {right}" for factors, right in public["rows"]
        )
        return (
            f"Solve these equations modulo {public['modulus']} (both sides leave the same remainder when divided by it):\n{lines}\n"
            f"Every unknown must be an integer from 0 to {public['modulus'] - 1}. Any solution is accepted."
        )

    def reference(self, public, private):
        return " ".join(map(str, private["solution"]))

    def verify(self, public, answer, reference):
        parts = [part for part in re.split(r"[\s,;]+", answer.strip()) if part]
        if len(parts) != len(public["rows"][0][0]) or not all(re.fullmatch(r"[0-9]{1,3}", part) for part in parts):
            return 0.0
        values = [int(part) for part in parts]
        if any(value >= public["modulus"] for value in values):
            return 0.0
        for factors, right in public["rows"]:
            if (sum(f * x for f, x in zip(factors, values)) - right) % public["modulus"]:
                return 0.0
        return 1.0
