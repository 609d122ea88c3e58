class Inventory:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        return {"stock": [[rng.randint(1, 40), rng.randint(1, 99)] for _ in range(4 + 3 * level)], "tax": rng.randint(2, 9)}, {}

    def render(self, public):
        lines = [f"{count} pieces at {price}" for count, price in public["stock"]]
        if len(lines) > 15:
            lines = lines[:14] + ["..."] + lines[-1:]
        return (
            "A shop has in stock:\n" + "\n".join(lines) + f"\nAdd up the value of all pieces, and for each line add {public['tax']} more. What is the total?"
        )

    def reference(self, public, private):
        return str(sum(count * price + public["tax"] for count, price in public["stock"]))

    def verify(self, public, answer, reference):
        text = answer.strip()
        return 1.0 if text.isascii() and text.isdigit() and len(text) < 12 and int(text) == int(reference) else 0.0
