import re


class WaterTank:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        steps = [[rng.choice(["fill", "drain", "double"]), rng.randint(3, 90)] for _ in range(3 + 3 * level)]
        return {"start": rng.randint(10, 400), "size": rng.randint(500, 900), "steps": steps}, {}

    def render(self, public):
        steps = ", ".join(f"{kind} {amount}" for kind, amount in public["steps"])
        return (
            f"A tank of {public['size']} litres holds {public['start']} litres. Steps: {steps}. fill x adds x litres, drain x takes x "
            "litres (down to nothing at the least), double x doubles the content and then takes x litres (down to nothing at the least). "
            "What does not fit into the tank is lost at once. How many litres are in the tank at the end?"
        )

    def reference(self, public, private):
        content = public["start"]
        for kind, amount in public["steps"]:
            if kind == "fill":
                content = min(public["size"], content + amount)
            elif kind == "drain":
                content = max(0, content - amount)
            else:
                content = max(0, min(public["size"], 2 * content) - amount)
        return str(content)

    def verify(self, public, answer, reference):
        digits = re.sub(r"\D", "", answer, flags=re.ASCII)
        return 1.0 if digits and len(digits) < 100 and int(digits) == int(reference) else 0.0
