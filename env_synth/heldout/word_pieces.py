"""Held-out environment: a planted word, found from its pieces."""

# By level: letters of the word, letters of a piece, letters of the alphabet.
LEVELS = ((3, 2, 8), (4, 2, 8), (6, 2, 5), (9, 2, 4), (14, 3, 3), (22, 3, 4), (34, 4, 3), (50, 4, 4), (75, 5, 3), (120, 5, 3))


class WordPieces:
    """Find a word that holds all pieces: three letters out of two pieces at level 0, 120 letters out of 116 at level 9.

    The pieces are all different and as many as fit, so that each stands at exactly one place.
    """

    family = "certificate"
    answer_type = "word"
    answer_format = "one word"
    max_level = 9

    def generate(self, rng, level):
        length, size, letters = LEVELS[level]
        alphabet = rng.sample("abcdefghiklmnoprstuvw", letters)
        word, pieces = "", []
        while len(word) < length:
            word += rng.choice(alphabet)
            if len(word) < size:
                continue
            free = [word[-size:-1] + letter for letter in alphabet if word[-size:-1] + letter not in pieces]
            if not free:  # every way on is used up
                word, pieces = "", []
                continue
            pieces.append(rng.choice(free))
            word = word[:-1] + pieces[-1][-1]
        rng.shuffle(pieces)
        return {"length": length, "pieces": pieces}, {"word": word}

    def render(self, public):
        pieces = public["pieces"]
        if len(pieces) == 2:
            return f"A word has {public['length']} letters. Both {pieces[0]} and {pieces[1]} are in it.\nWhat can the word be?"
        return (
            f"A word has {public['length']} letters. Each of these pieces stands in it, unbroken; they may overlap:\n"
            f"{' '.join(pieces)}\nWhat can the word be?"
        )

    def reference(self, public, private):
        return private["word"]

    def verify(self, public, answer, reference):
        word = answer.strip().strip("\"'.").lower()
        if len(word) != public["length"]:
            return 0.0
        return 1.0 if all(piece in word for piece in public["pieces"]) else 0.0
