import re


class ExactCover:
    family = "certificate"
    answer_type = "text"
    answer_format = "the letters of the chosen sets, separated by spaces"
    max_level = 6

    def generate(self, rng, level):
        size = 6 + 3 * level
        items = list(range(1, size + 1))
        rng.shuffle(items)
        planted = []
        while items:
            take = min(len(items), rng.randint(2, 4))
            planted.append(sorted(items[:take]))
            items = items[take:]
        decoys = [sorted(rng.sample(range(1, size + 1), rng.randint(2, 4))) for _ in range(len(planted) + 3 + level)]
        sets = planted + decoys
        order = list(range(len(sets)))
        rng.shuffle(order)
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        listed = [[letters[place], sets[index]] for place, index in enumerate(order[:26])]
        names = [letters[place] for place, index in enumerate(order) if index < len(planted)]
        return {"size": size, "sets": listed}, {"names": names}

    def render(self, public):
        lines = "\n".join(f"{name}: {' '.join(map(str, items))}" for name, items in public["sets"])
        return (
            f"Choose some of these sets so that each number from 1 to {public['size']} lies in exactly one chosen set. "
            f"The letters may be given in any order.\n{lines}"
        )

    def reference(self, public, private):
        return " ".join(private["names"])

    def verify(self, public, answer, reference):
        names = re.split(r"[\s,]+", answer.strip())
        sets = dict((name, items) for name, items in public["sets"])
        if len(set(names)) != len(names) or any(name not in sets for name in names):
            return 0.0
        covered = sorted(item for name in names for item in sets[name])
        return 1.0 if covered == list(range(1, public["size"] + 1)) else 0.0
