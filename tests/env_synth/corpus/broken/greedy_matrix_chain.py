import re


class PipeJoints:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        return {"sizes": [rng.randint(2, 30) for _ in range(5 + level)]}, {}

    def render(self, public):
        sizes = public["sizes"]
        names = ", ".join(f"A{i + 1} is {rows}x{columns}" for i, (rows, columns) in enumerate(zip(sizes, sizes[1:])))
        return (
            f"Matrices are multiplied in the given order: {names}. Multiplying an a x b matrix by a b x c matrix takes a*b*c "
            "multiplications. Brackets may be set freely. What is the smallest total number of multiplications for the product?"
        )

    def reference(self, public, private):
        sizes = list(public["sizes"])
        total = 0
        while len(sizes) > 2:
            place = max(range(1, len(sizes) - 1), key=lambda i: sizes[i])
            total += sizes[place - 1] * sizes[place] * sizes[place + 1]
            del sizes[place]
        return str(total)

    def verify(self, public, answer, reference):
        text = answer.strip().replace(",", "")
        return 1.0 if re.fullmatch(r"[0-9]{1,12}", text) and int(text) == int(reference) else 0.0
