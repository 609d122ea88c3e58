"""A number that is changed step by step."""


class RunningTotal:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        steps = []
        for _ in range(1 + level):
            kind = rng.choice(["add", "subtract", "double"])
            steps.append([kind, rng.randint(1, 9 + 3 * level)])
        return {"start": rng.randint(5, 20 + 5 * level), "steps": steps}, {}

    def render(self, public):
        words = []
        for kind, amount in public["steps"]:
            words.append("Double it." if kind == "double" else f"{kind.capitalize()} {amount}.")
        return f"Start with the number {public['start']}. {' '.join(words)} What is the result?"

    def reference(self, public, private):
        total = public["start"]
        for kind, amount in public["steps"]:
            if kind == "add":
                total += amount
            elif kind == "subtract":
                total -= amount
            else:
                total *= 2
        return str(total)

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip() == reference else 0.0
