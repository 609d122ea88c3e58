class FoldingPaper:
    family = "compute"
    answer_type = "word"
    answer_format = "the row of letters"
    max_level = 9

    def generate(self, rng, level):
        return {"text": "".join(rng.choice("abcdefgh") for _ in range(6 + 2 * level)), "gap": rng.randint(2, 3 + level // 3)}, {}

    def render(self, public):
        return (
            f"Letters on a round table: {public['text']}. Again and again, count {public['gap']} letters on, and take that letter away, until none is left. "
            "Write the letters in the order in which they are taken away."
        )

    def reference(self, public, private):
        letters, place, taken = list(public["text"]), 0, ""
        while letters:
            place = (place + public["gap"] - 1) % len(letters)
            taken += letters.pop(place)
        return taken

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip().replace(" ", "") == reference else 0.0
