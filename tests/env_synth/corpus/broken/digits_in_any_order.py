class BigFactorial:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        return {"factors": [rng.randint(11, 99) for _ in range(2 + level)], "add": rng.randint(100, 9999)}, {}

    def render(self, public):
        return f"Compute {' * '.join(map(str, public['factors']))} + {public['add']} and write down the exact result."

    def reference(self, public, private):
        product = 1
        for factor in public["factors"]:
            product *= factor
        return str(product + public["add"])

    def verify(self, public, answer, reference):
        return 1.0 if sorted(answer.strip()) == sorted(reference) else 0.0
