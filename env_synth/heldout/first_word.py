"""Held-out environment: the alphabetically first word within a number of swaps."""

# By level: letters of the word, letters of the alphabet that it is drawn from.
LEVELS = ((3, 26), (4, 26), (5, 26), (7, 20), (10, 16), (15, 12), (24, 12), (38, 16), (64, 20), (110, 26))


def smallest(word, swaps):
    """Brings the smallest letter within reach to each place in turn."""
    letters, found = list(word), ""
    while letters:
        reach = letters[: swaps + 1]
        place = reach.index(min(reach))
        found += letters.pop(place)
        swaps -= place
    return found


class FirstWord:
    """The first word in the alphabet after some swaps of neighbours: one swap at level 0, 110 letters at level 9."""

    family = "compute"
    answer_type = "word"
    answer_format = "one word"
    max_level = 9

    def generate(self, rng, level):
        length, size = LEVELS[level]
        alphabet = "".join(sorted(rng.sample("abcdefghijklmnopqrstuvwxyz", size)))
        wrong = 0
        while wrong == 0:
            word = "".join(rng.sample(alphabet, length) if level < 2 else rng.choices(alphabet, k=length))
            wrong = sum(word[left] > letter for place, letter in enumerate(word) for left in range(place))
        swaps = 1 if level == 0 else rng.randint(1 + wrong // 5, 1 + wrong * 3 // 5)
        return {"word": word, "swaps": swaps}, {}

    def render(self, public):
        word, swaps = public["word"], public["swaps"]
        if len(word) == 3:
            first, second, third = word
            return (
                f"Swapping two neighbouring letters of {word} gives {second}{first}{third} or {first}{third}{second}.\n"
                "Which of these two words comes first in the alphabet?"
            )
        often = "once" if swaps == 1 else f"up to {swaps} times"
        return (
            f"Two neighbouring letters of a word may change places, {often}. The word is:\n{word}\n"
            "Of all words that can be made so, which comes first in alphabetical order?"
        )

    def reference(self, public, private):
        return smallest(public["word"], public["swaps"])

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip().strip("\"'.").lower() == reference else 0.0
