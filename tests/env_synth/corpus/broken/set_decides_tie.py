class MostCommonWord:
    family = "compute"
    answer_type = "text"
    answer_format = "the words, separated by spaces"
    max_level = 8

    def generate(self, rng, level):
        names = ["ash", "oak", "elm", "fir", "yew", "box", "bay", "fig", "gum", "nut", "palm", "pine", "plum", "pear", "lime", "holly"]
        return {"words": [rng.choice(names[: 5 + level]) for _ in range(8 + 4 * level)], "count": 3}, {}

    def render(self, public):
        return (
            f"Words: {' '.join(public['words'])}.\nList the {public['count']} words that occur most often, the most frequent first."
        )

    def reference(self, public, private):
        words = public["words"]
        different = set(words)
        ranked = sorted(different, key=lambda word: -words.count(word))
        return " ".join(ranked[: public["count"]])

    def verify(self, public, answer, reference):
        return 1.0 if answer.lower().replace(",", " ").split() == reference.split() else 0.0
