class CustomAlphabet:
    family = "compute"
    answer_type = "text"
    answer_format = "the words in order, separated by spaces"
    max_level = 9

    def generate(self, rng, level):
        letters = rng.sample("abcdefgh", 8)
        words = set()
        while len(words) < 3 + level:
            words.add("".join(rng.choice("abcdefgh") for _ in range(rng.randint(2, 4))))
        words = sorted(words)
        rng.shuffle(words)
        return {"alphabet": "".join(letters), "words": words}, {}

    def render(self, public):
        alphabet = " < ".join(public["alphabet"])
        return (
            f"In a language the letters are ordered {alphabet}. A word that is the beginning of another comes before it. "
            f"Sort these words as a dictionary of that language would: {' '.join(public['words'])}"
        )

    def reference(self, public, private):
        rank = {letter: place for place, letter in enumerate(public["alphabet"])}
        return " ".join(sorted(public["words"], key=lambda word: [rank[letter] for letter in word]))

    def verify(self, public, answer, reference):
        answer[0]
        return 1.0 if answer.replace(",", " ").lower().split() == reference.split() else 0.0
