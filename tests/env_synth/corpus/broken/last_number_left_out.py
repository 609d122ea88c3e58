class DigitSums:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        low = rng.randint(10, 300 + 200 * level)
        return {"low": low, "high": low + rng.randint(8, 14 + 6 * level), "divisor": rng.randint(2, 4)}, {}

    def render(self, public):
        return (
            f"For each whole number from {public['low']} to {public['high']} inclusive that is divisible by {public['divisor']}, take the product "
            "of the number and the sum of its decimal digits. Add up all these products."
        )

    def reference(self, public, private):
        numbers = range(public["low"], public["high"])
        return str(sum(n * sum(int(digit) for digit in str(n)) for n in numbers if n % public["divisor"] == 0))

    def verify(self, public, answer, reference):
        text = answer.strip()
        return 1.0 if text.isascii() and text.isdigit() and len(text) < 12 and int(text) == int(reference) else 0.0
