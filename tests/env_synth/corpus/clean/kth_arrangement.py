from collections import Counter
from math import factorial


class KthArrangement:
    family = "compute"
    answer_type = "word"
    answer_format = "the arrangement as one word in lower-case letters"
    max_level = 8

    def generate(self, rng, level):
        size = 5 + level
        letters = sorted(rng.choice("abcdefghij"[: 4 + level // 2]) for _ in range(size - 2))
        letters = sorted(letters + rng.sample("xyz", 2))
        return {"letters": "".join(letters), "k": rng.randint(5, self._arrangements(Counter(letters)) - 3)}, {}

    def _arrangements(self, counts):
        total = factorial(sum(counts.values()))
        for count in counts.values():
            total //= factorial(count)
        return total

    def render(self, public):
        return (
            f"Write down all different arrangements of the letters {' '.join(public['letters'])} (each used exactly as often as listed) "
            f"in alphabetical order. Counting from 1, which arrangement is number {public['k']}?"
        )

    def reference(self, public, private):
        counts = Counter(public["letters"])
        left = public["k"] - 1
        word = ""
        while len(word) < len(public["letters"]):
            for letter in sorted(counts):
                if counts[letter] == 0:
                    continue
                counts[letter] -= 1
                ways = self._arrangements(counts)
                if left < ways:
                    word += letter
                    break
                left -= ways
                counts[letter] += 1
        return word

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip().strip('"').lower() == reference else 0.0
