class SieveQuery:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        low = rng.randint(20, 200 + 100 * level)
        span = rng.randint(12, 20) + 4 * level
        primes = [n for n in range(low, low + span) if all(n % d for d in range(2, int(n**0.5) + 1))]
        return {"low": low, "high": low + span - 1, "pivot": rng.choice(primes), "factor": rng.randint(3, 50)}, {}

    def render(self, public):
        return (
            f"Consider the whole numbers from {public['low']} to {public['high']}, both included. Add up the primes among them that are not "
            f"equal to {public['pivot']}, multiply the sum by {public['factor']} and add {public['pivot']}. What is the result?"
        )

    def reference(self, public, private):
        primes = [n for n in range(public["low"], public["high"] + 1) if all(n % d for d in range(2, int(n**0.5) + 1))]
        return str(public["factor"] * (sum(primes) - public["pivot"]) + public["pivot"])

    def verify(self, public, answer, reference):
        text = answer.strip()
        return 1.0 if text.isascii() and text.isdigit() and len(text) < 12 and int(text) == int(reference) else 0.0
