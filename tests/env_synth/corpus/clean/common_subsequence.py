class CommonSubsequence:
    """The common subsequence of two words that is worth most, where every letter has a price."""

    family = "compute"
    answer_type = "int"
    answer_format = "one non-negative integer"
    max_level = 9

    def generate(self, rng, level):
        letters = "abcde"
        prices = {letter: rng.randint(1, 20) for letter in letters}
        first = "".join(rng.choice(letters) for _ in range(4 + 3 * level))
        second = "".join(rng.choice(letters) for _ in range(4 + 3 * level))
        return {"prices": prices, "first": first, "second": second}, {}

    def render(self, public):
        prices = ", ".join(f"{letter} = {price}" for letter, price in public["prices"].items())
        return (
            f"Each letter has a price: {prices}. A word that can be got from {public['first']} by deleting letters and also from "
            f"{public['second']} by deleting letters is called common. The worth of a word is the sum of the prices of its letters "
            "(the empty word is worth 0). How much is the most valuable common word worth?"
        )

    def reference(self, public, private):
        first, second, prices = public["first"], public["second"], public["prices"]
        row = [0] * (len(second) + 1)
        for a in first:
            following = [0]
            for j, b in enumerate(second, 1):
                best = max(row[j], following[j - 1])
                if a == b:
                    best = max(best, row[j - 1] + prices[a])
                following.append(best)
            row = following
        return str(row[-1])

    def verify(self, public, answer, reference):
        answer = answer.strip()
        if not (answer.isascii() and answer.isdigit()) or len(answer) > 9:
            return 0.0
        return 1.0 if int(answer) == int(reference) else 0.0
