"""A queue of numbers that is worked through from the front."""


class LastStanding:
    family = "compute"
    answer_type = "ints"
    answer_format = "the remaining numbers in order, separated by spaces"
    max_level = 9

    def generate(self, rng, level):
        numbers = [rng.randint(1, 99) for _ in range(6 + 2 * level)]
        return {"numbers": numbers, "rounds": 2 + level}, {}

    def render(self, public):
        shown = " ".join(str(x) for x in public["numbers"])
        return (
            f"A list of numbers: {shown}\n"
            f"Repeat {public['rounds']} times: remove the first number; if it was even, append half of it at the end.\n"
            "Which numbers remain, in order?"
        )

    def reference(self, public, private):
        numbers = list(public["numbers"])
        for _ in range(public["rounds"]):
            first = numbers.pop(0)
            if first % 2 == 0:
                numbers.append(first // 2)
        return " ".join(str(x) for x in numbers)

    def verify(self, public, answer, reference):
        return 1.0 if answer.split() == reference.split() else 0.0
