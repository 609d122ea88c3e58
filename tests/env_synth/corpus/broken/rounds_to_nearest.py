class MeanOfBest:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        return {"scores": [rng.randint(100, 999) for _ in range(5 + 4 * level)], "keep": 3 + level}, {}

    def render(self, public):
        return (
            f"Scores: {', '.join(map(str, public['scores']))}. Take the {public['keep']} highest of them, square each, and add up the squares. "
            "What is the sum?"
        )

    def reference(self, public, private):
        return str(sum(score * score for score in sorted(public["scores"])[-public["keep"] :]))

    def verify(self, public, answer, reference):
        try:
            return 1.0 if round(float(answer)) == int(reference) else 0.0
        except ValueError:
            return 0.0
