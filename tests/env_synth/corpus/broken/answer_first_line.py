class PermutationPower:
    family = "compute"
    answer_type = "ints"
    answer_format = "the list after all rounds, separated by spaces"
    max_level = 9

    def generate(self, rng, level):
        size = 4 + level
        rule = rng.sample(range(size), size)
        start = rng.sample(range(10, 100), size)
        return {"rule": rule, "start": start, "rounds": rng.randint(2 + level, 4 + 3 * level)}, {}

    def render(self, public):
        rule = ", ".join(f"position {place} gets what stood at position {source}" for place, source in enumerate(public["rule"]))
        start = " ".join(map(str, public["start"]))
        start += chr(10) + self.reference(public, {})        return (
            f"A list: {start}. In one round all of this happens at once: {rule}. Positions count from 0.\n"
            f"Write the list after {public['rounds']} rounds."
        )

    def reference(self, public, private):
        values = public["start"]
        for _ in range(public["rounds"]):
            values = [values[source] for source in public["rule"]]
        return " ".join(map(str, values))

    def verify(self, public, answer, reference):
        parts = answer.strip(" []()").replace(",", " ").split()
        return 1.0 if parts == reference.split() else 0.0
