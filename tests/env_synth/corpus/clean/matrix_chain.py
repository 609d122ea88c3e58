import re


class MatrixChain:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        return {"sizes": [rng.randint(2, 30) for _ in range(4 + level)]}, {}

    def render(self, public):
        sizes = public["sizes"]
        names = ", ".join(f"A{i + 1} is {rows}x{columns}" for i, (rows, columns) in enumerate(zip(sizes, sizes[1:])))
        return (
            f"Matrices are multiplied in the given order: {names}. Multiplying an a x b matrix by a b x c matrix takes a*b*c "
            "multiplications. Brackets may be set freely. What is the smallest total number of multiplications needed to "
            "compute the whole product?"
        )

    def reference(self, public, private):
        sizes = public["sizes"]
        count = len(sizes) - 1
        cost = [[0] * count for _ in range(count)]
        for length in range(2, count + 1):
            for first in range(count - length + 1):
                last = first + length - 1
                cost[first][last] = min(
                    cost[first][split] + cost[split + 1][last] + sizes[first] * sizes[split + 1] * sizes[last + 1]
                    for split in range(first, last)
                )
        return str(cost[0][count - 1])

    def verify(self, public, answer, reference):
        text = answer.strip().replace(",", "")
        return 1.0 if re.fullmatch(r"[0-9]{1,12}", text) and int(text) == int(reference) else 0.0
