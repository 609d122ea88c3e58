"""What a tank loses by overflow."""


class WaterTank:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        flows = [rng.randint(-15, 25) for _ in range(5 + 2 * level)]
        return {"capacity": rng.randint(9, 19), "flows": flows}, {}

    def render(self, public):
        shown = ", ".join(str(x) for x in public["flows"])
        return (
            f"A tank holds at most {public['capacity']} litres and starts empty. Hour by hour its level changes by: {shown}. "
            "What would overflow is lost, and the level never falls below 0. How many litres are lost by overflow in all?"
        )

    def reference(self, public, private):
        level = lost = 0
        for flow in public["flows"]:
            level = max(0, level + flow)
            if level > public["capacity"]:
                lost += level - public["capacity"]
                level = public["capacity"]
        return str(lost)

    def verify(self, public, answer, reference):
        try:
            return 1.0 if int(answer) == int(reference) else 0.0
        except ValueError:
            return 0.0
