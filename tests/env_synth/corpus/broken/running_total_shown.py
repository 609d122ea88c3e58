class ElevatorLoad:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        load, log = rng.randint(80, 300), []
        start = load
        for _ in range(4 + 3 * level):
            change = rng.randint(-80, 120)
            load = max(0, load + change)
            log.append([change, load])
        return {"start": start, "log": log}, {}

    def render(self, public):
        log = "\n".join(f"change {change:+d} kg, then {load} kg" for change, load in public["log"])
        return f"A lift carries {public['start']} kg. At each floor its load changes (it cannot fall below 0):\n{log}\nWhat is the load at the end, in kg?"

    def reference(self, public, private):
        load = public["start"]
        for change, _ in public["log"]:
            load = max(0, load + change)
        return str(load)

    def verify(self, public, answer, reference):
        text = answer.strip().removesuffix("kg").strip()
        return 1.0 if text.isascii() and text.isdigit() and len(text) < 9 and int(text) == int(reference) else 0.0
