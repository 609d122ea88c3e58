import re


class LetterChain:
    family = "certificate"
    answer_type = "text"
    answer_format = "the words in order, separated by spaces"
    max_level = 8

    def generate(self, rng, level):
        letters = "abcdefg"
        count = 5 + level
        chain = [rng.choice(letters)]
        for _ in range(count):
            chain.append(rng.choice(letters))
        words = [chain[i] + rng.choice(letters) + rng.choice(letters) + chain[i + 1] for i in range(count)]
        shown = list(words)
        rng.shuffle(shown)
        return {"words": shown, "solution": words}, {"words": words}

    def render(self, public):
        return (
            "Put all of these words in a row so that every word begins with the last letter of the word before it: "
            + " ".join(public["words"])
            + ". Use each as often as it is listed. Any such row is right."
        )

    def reference(self, public, private):
        return " ".join(private["words"])

    def verify(self, public, answer, reference):
        words = re.split(r"[\s,]+", answer.strip().lower())
        return 1.0 if words == public["solution"] else 0.0
