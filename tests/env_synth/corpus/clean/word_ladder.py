import re
import string


def neighbours(first, second):
    return len(first) == len(second) and sum(a != b for a, b in zip(first, second)) == 1


class WordLadder:
    family = "certificate"
    answer_type = "text"
    answer_format = "the words of the ladder in order, separated by spaces"
    max_level = 9

    def generate(self, rng, level):
        size = 4
        letters = string.ascii_lowercase[: 5 + level // 3]
        steps = 4 + level
        while True:
            ladder = ["".join(rng.choice(letters) for _ in range(size))]
            while len(ladder) <= steps:
                word = list(ladder[-1])
                word[rng.randrange(size)] = rng.choice(letters)
                word = "".join(word)
                if word not in ladder:
                    ladder.append(word)
            if sum(a != b for a, b in zip(ladder[0], ladder[-1])) >= 3:
                break
        words = set(ladder)
        while len(words) < len(ladder) + 6 + 3 * level:
            word = list(rng.choice(ladder))
            for place in rng.sample(range(size), rng.randint(1, 2)):
                word[place] = rng.choice(letters)
            words.add("".join(word))
        listed = sorted(words)
        rng.shuffle(listed)
        return {"first": ladder[0], "last": ladder[-1], "words": listed, "limit": steps + 1}, {"ladder": ladder}

    def render(self, public):
        return (
            f"Here is a list of words: {' '.join(public['words'])}.\nBuild a ladder from {public['first']} to {public['last']}: start with the "
            "first word, end with the last; each word of the ladder is in the list and differs from the word before it in exactly one "
            f"letter. No word may occur twice, and the ladder has at most {public['limit']} words, both ends counted."
        )

    def reference(self, public, private):
        return " ".join(private["ladder"])

    def verify(self, public, answer, reference):
        words = [word for word in re.split(r"[\s,>-]+", answer.strip().lower()) if word]
        if len(words) < 2 or len(words) > public["limit"] or len(set(words)) != len(words):
            return 0.0
        if words[0] != public["first"] or words[-1] != public["last"] or not set(words) <= set(public["words"]):
            return 0.0
        return 1.0 if all(neighbours(a, b) for a, b in zip(words, words[1:])) else 0.0
