class FairSplit:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        return {"weights": [rng.randint(20, 900) for _ in range(5 + 3 * level)]}, {}

    def render(self, public):
        return (
            f"Split stones of the weights {' '.join(map(str, public['weights']))} into two heaps. "
            "What is the smallest possible difference between the weights of the heaps?"
        )

    def _best(self, weights, place, difference):
        if place == len(weights):
            return abs(difference)
        return min(
            self._best(weights, place + 1, difference + weights[place]),
            self._best(weights, place + 1, difference - weights[place]),
        )

    def reference(self, public, private):
        return str(self._best(public["weights"], 0, 0))

    def verify(self, public, answer, reference):
        text = answer.strip()
        return 1.0 if text.isascii() and text.isdigit() and len(text) < 9 and int(text) == int(reference) else 0.0
