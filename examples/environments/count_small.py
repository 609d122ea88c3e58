"""How many numbers of a list are below a limit."""


class CountSmall:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        numbers = [rng.randint(1, 20 + 5 * level) for _ in range(4 + 2 * level)]
        limit = rng.randint(6, 15 + 3 * level)
        return {"numbers": numbers, "limit": limit}, {}

    def render(self, public):
        shown = ", ".join(str(x) for x in public["numbers"])
        return f"Look at the numbers {shown}. Count those that are smaller than {public['limit']}. How many are there?"

    def reference(self, public, private):
        count = 0
        for x in public["numbers"]:
            if x < public["limit"]:
                count += 1
        return str(count)

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip() == reference else 0.0
