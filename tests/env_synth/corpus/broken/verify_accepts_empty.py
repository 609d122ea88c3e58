from itertools import groupby


class RunLengths:
    family = "compute"
    answer_type = "word"
    answer_format = "the code without spaces, such as 3a1b"
    max_level = 9

    def generate(self, rng, level):
        word = ""
        while len(word) < 8 + 6 * level:
            word += rng.choice("abc") * rng.randint(1, 4)
        keep = len(word)
        swaps = [sorted(rng.sample(range(keep), 2)) for _ in range(level + 1)]
        return {"word": word, "swaps": swaps}, {}

    def render(self, public):
        swaps = ", ".join(f"({a}, {b})" for a, b in public["swaps"])
        return (
            f"Take the word {public['word']}. Positions count from 0. For each of these pairs in order, exchange the letters at the "
            f"two positions: {swaps}.\nThen write every maximal run of equal letters as its length followed by the letter, one after "
            "the other. What is the code?"
        )

    def reference(self, public, private):
        letters = list(public["word"])
        for a, b in public["swaps"]:
            letters[a], letters[b] = letters[b], letters[a]
        return "".join(f"{len(list(run))}{letter}" for letter, run in groupby(letters))

    def verify(self, public, answer, reference):
        return 1.0 if all(symbol in reference for symbol in answer.split()) else 0.0
