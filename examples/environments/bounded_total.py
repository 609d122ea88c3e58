"""Balls that are taken out of a box, or put in where there are too few."""


class BoundedTotal:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        numbers = [rng.randint(1, 12 + 3 * level) for _ in range(1 + level)]
        start = rng.randint(5, 25 + 5 * level)
        return {"numbers": numbers, "start": start}, {}

    def render(self, public):
        shown = ", ".join(str(x) for x in public["numbers"])
        return (
            f"A box holds {public['start']} balls. Look at the numbers {shown}. For every number take so many balls out, "
            "or put so many in when there are too few. How many balls are in the box at the end?"
        )

    def reference(self, public, private):
        count = public["start"]
        for x in public["numbers"]:
            if count >= x:
                count -= x
            else:
                count += x
        return str(count)

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip() == reference else 0.0
