import re


class Shuffles:
    family = "compute"
    answer_type = "ints"
    answer_format = "the cards from top to bottom, separated by spaces"
    max_level = 9

    def generate(self, rng, level):
        cards = rng.sample(range(10, 100), 6 + 2 * level)
        return {"cards": cards, "shuffles": rng.randint(2, 4 + level)}, {}

    def render(self, public):
        return (
            f"A pile of cards from top to bottom: {' '.join(map(str, public['cards']))}. A perfect shuffle cuts the pile into an upper and a lower half "
            "of the same size and then takes cards from the tops of the two halves in turn, beginning with the lower half, building the "
            "new pile from top to bottom. What does the pile look like after the shuffles?"
        )

    def reference(self, public, private):
        cards = public["cards"]
        for _ in range(public["shuffles"]):
            half = len(cards) // 2
            cards = [card for pair in zip(cards[half:], cards[:half]) for card in pair]
        return " ".join(map(str, cards))

    def verify(self, public, answer, reference):
        if re.search(r"[^0-9\s,]", answer):
            return 0.0
        return 1.0 if answer.replace(",", " ").split() == reference.split() else 0.0
