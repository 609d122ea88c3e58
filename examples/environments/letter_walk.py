"""A word under a list of simple moves."""


class LetterWalk:
    family = "compute"
    answer_type = "word"
    answer_format = "one word of lower-case letters"
    max_level = 9

    def generate(self, rng, level):
        word = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(5 + level))
        steps = [rng.choice(["reverse", "rotate", "swap"]) for _ in range(2 + level)]
        return {"word": word, "steps": steps}, {}

    def render(self, public):
        return (
            f"Start with the word {public['word']}. Apply these steps in order: {', '.join(public['steps'])}.\n"
            "reverse: write the word backwards. rotate: move the first letter to the end. "
            "swap: exchange the first and the last letter. What is the word at the end?"
        )

    def reference(self, public, private):
        word = public["word"]
        for step in public["steps"]:
            if step == "reverse":
                word = word[::-1]
            elif step == "rotate":
                word = word[1:] + word[0]
            else:
                word = word[-1] + word[1:-1] + word[0]
        return word

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip().lower() == reference else 0.0
