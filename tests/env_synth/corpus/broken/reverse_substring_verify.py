class Rewriting:
    family = "compute"
    answer_type = "word"
    answer_format = "the final string"
    max_level = 9

    RULES = (("ab", "ba"), ("bc", "cb"), ("ac", "ca"))

    def generate(self, rng, level):
        return {"text": "".join(rng.choice("abc") for _ in range(5 + 2 * level)), "steps": 2 + 2 * level}, {}

    def render(self, public):
        rules = "; ".join(f"{left} becomes {right}" for left, right in self.RULES)
        return (
            f"Start with the string {public['text']}. In one step, go through these rules in order: {rules}. Use the first rule whose left "
            "side occurs in the string, and replace only its leftmost occurrence. If no rule applies, stop early.\n"
            f"What is the string after {public['steps']} steps?"
        )

    def reference(self, public, private):
        text = public["text"]
        for _ in range(public["steps"]):
            for left, right in self.RULES:
                if left in text:
                    text = text.replace(left, right, 1)
                    break
        return text

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip() in reference else 0.0
