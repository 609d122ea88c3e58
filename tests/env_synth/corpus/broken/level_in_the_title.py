import re


class ClockAngles:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        times = [[rng.randint(1, 12), rng.randint(0, 59)] for _ in range(4)]
        return {"level": level, "times": times, "weights": [rng.randint(1, 9) for _ in times]}, {}

    def render(self, public):
        times = ", ".join(f"{hour}:{minute:02d} (weight {weight})" for (hour, minute), weight in zip(public["times"], public["weights"]))
        return (
            f"Level {public['level']}. For each time take twice the angle in degrees from the hour hand clockwise to the minute hand of a clock, "
            f"a number from 0 to 719, and multiply it by its weight: {times}. What is the sum?"
        )

    def reference(self, public, private):
        total = 0
        for (hour, minute), weight in zip(public["times"], public["weights"]):
            total += weight * ((12 * minute - 60 * (hour % 12) - minute) % 720)
        return str(total)

    def verify(self, public, answer, reference):
        return 1.0 if re.fullmatch("[0-9]{1,9}", answer.strip()) and int(answer) == int(reference) else 0.0
