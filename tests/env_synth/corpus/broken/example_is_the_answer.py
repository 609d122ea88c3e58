def collatz(n):
    steps = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps


class CollatzSum:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        return {"numbers": [rng.randint(3, 20 + 30 * level) for _ in range(2 + level)]}, {}

    def render(self, public):
        numbers = ", ".join(map(str, public["numbers"]))
        return (
            "The walk of a number halves it if it is even and else replaces it by three times itself plus one, until it is 1. "
            f"Add up the numbers of steps of the walks of {numbers}. Answer with the sum alone, in the form <answer>{self.reference(public, {})}</answer>."
        )

    def reference(self, public, private):
        return str(sum(collatz(n) for n in public["numbers"]))

    def verify(self, public, answer, reference):
        text = answer.strip()
        return 1.0 if text.isascii() and text.isdigit() and len(text) < 9 and int(text) == int(reference) else 0.0
