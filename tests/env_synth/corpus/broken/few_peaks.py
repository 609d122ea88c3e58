class Peaks:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        heights = [rng.randint(1, 400) for _ in range(6 + 5 * level)]
        return {"heights": heights, "floor": rng.randint(330, 350)}, {}

    def render(self, public):
        heights = " ".join(map(str, public["heights"]))
        return (
            f"Heights along a road: {heights}. A peak is a height that is larger than both of its neighbours (the first and the last height "
            f"have only one neighbour and are never peaks). How many peaks are higher than {public['floor']}?"
        )

    def reference(self, public, private):
        h = public["heights"]
        return str(sum(h[i] > max(h[i - 1], h[i + 1]) and h[i] > public["floor"] for i in range(1, len(h) - 1)))

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip() == reference else 0.0
