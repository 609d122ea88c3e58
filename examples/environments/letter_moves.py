"""A word whose letters are replaced and moved."""


class LetterMoves:
    family = "compute"
    answer_type = "word"
    answer_format = "one word"
    max_level = 9

    def generate(self, rng, level):
        word = "".join(rng.choice("abcdeo") for _ in range(3 + level))
        kinds = ["add x at the end", "change every a to o", "remove the first letter", "add b at the front"]
        moves = [rng.choice(kinds) for _ in range(1 + level)]
        return {"word": word, "moves": moves}, {}

    def render(self, public):
        return f"Start with the word {public['word']}. Do this in order: {'; '.join(public['moves'])}. What is the word now?"

    def reference(self, public, private):
        word = public["word"]
        for move in public["moves"]:
            if move.startswith("add x"):
                word = word + "x"
            elif move.startswith("add b"):
                word = "b" + word
            elif move.startswith("change"):
                word = word.replace("a", "o")
            else:
                word = word[1:]
        return word

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip().lower() == reference else 0.0
