import re


class ThreeSat:
    family = "certificate"
    answer_type = "word"
    answer_format = "one T or F for each variable in order, without spaces, such as TFFT"
    max_level = 9

    def generate(self, rng, level):
        count = 5 + 2 * level
        truth = [rng.random() < 0.5 for _ in range(count)]
        clauses = []
        while len(clauses) < 5 * count:
            chosen = rng.sample(range(count), 3)
            signs = [rng.random() < 0.5 for _ in chosen]
            if any(truth[v] == sign for v, sign in zip(chosen, signs)):
                clauses.append([v + 1 if sign else -v - 1 for v, sign in zip(chosen, signs)])
        return {"count": count, "clauses": clauses}, {"truth": truth}

    def render(self, public):
        clauses = "\n".join(" or ".join(f"x{v}" if v > 0 else f"not x{-v}" for v in clause) for clause in public["clauses"])
        return (
            f"Find truth values for x1 to x{public['count']} so that every line below is true:\n{clauses}\n"
            "Answer with T or F for x1, x2 and so on, written one after the other."
        )

    def reference(self, public, private):
        return "".join("T" if value else "F" for value in private["truth"])

    def verify(self, public, answer, reference):
        text = answer.strip().upper()
        if not re.fullmatch(r"[TF]+", text) or len(text) < public["count"]:
            return 0.0
        right = all(any((text[abs(v) - 1] == "T") == (v > 0) for v in clause) for clause in public["clauses"])
        return 1.0 if right else 0.0
