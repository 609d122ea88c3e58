import heapq
import re


class Huffman:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        counts = {letter: rng.randint(1, 40) for letter in "abcdefghijklmnopqrstuvwxyz"[: 4 + 2 * level]}
        return {"counts": counts}, {}

    def render(self, public):
        counts = ", ".join(f"{letter} occurs {count} times" for letter, count in public["counts"].items())
        return f"A text is stored with an optimal prefix code of bits for its letters: {counts}. How many bits does the coded text have?"

    def reference(self, public, private):
        heap = list(public["counts"].values())
        heapq.heapify(heap)
        total = 0
        while len(heap) > 1:
            merged = heapq.heappop(heap) + heapq.heappop(heap)
            total += merged
            heapq.heappush(heap, merged)
        return str(total)

    def verify(self, answer, public, reference):
        return 1.0 if re.fullmatch("[0-9]{1,12}", answer) and int(answer) == int(reference) else 0.0
