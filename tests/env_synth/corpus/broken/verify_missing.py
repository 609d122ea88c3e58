from itertools import combinations


class Clique:
    family = "certificate"
    answer_type = "ints"
    answer_format = "the people of the group, separated by spaces"
    max_level = 9

    def generate(self, rng, level):
        people, size = 7 + 2 * level, 4 + level // 2
        group = rng.sample(range(1, people + 1), size)
        pairs = {tuple(sorted(pair)) for pair in combinations(group, 2)}
        for pair in combinations(range(1, people + 1), 2):
            if rng.random() < 0.4:
                pairs.add(pair)
        return {"people": people, "size": size, "pairs": [list(pair) for pair in sorted(pairs)]}, {"group": group}

    def render(self, public):
        pairs = " ".join(f"{a}-{b}" for a, b in public["pairs"])
        return (
            f"{public['people']} people are numbered from 1. These pairs know each other: {pairs}.\n"
            f"Find {public['size']} people who all know each other. Any order will do."
        )

    def reference(self, public, private):
        return " ".join(map(str, private["group"]))

    def grade(self, public, answer, reference):
        try:
            group = [int(part) for part in answer.replace(",", " ").split()]
        except ValueError:
            return 0.0
        known = {(a, b) for a, b in public["pairs"]}
        if len(group) != public["size"] or len(set(group)) != len(group):
            return 0.0
        return 1.0 if all(pair in known for pair in combinations(sorted(group), 2)) else 0.0
