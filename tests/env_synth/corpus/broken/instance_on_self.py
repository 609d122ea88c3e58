from functools import lru_cache


class Knapsack:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        items = [[rng.randint(2, 20), rng.randint(1, 50)] for _ in range(4 + 2 * level)]
        self.items = items
        return {"items": items, "limit": sum(weight for weight, _ in items) // 2}, {}

    def render(self, public):
        lines = "\n".join(f"- weight {weight}, value {value}" for weight, value in public["items"])
        return (
            f"Pack some of these items, each at most once, so that the total weight is at most {public['limit']}:\n{lines}\n"
            "What is the greatest total value?"
        )

    def reference(self, public, private):
        items = public["items"]

        @lru_cache(maxsize=None)
        def best(place, room):
            if place == len(items):
                return 0
            weight, value = items[place]
            skip = best(place + 1, room)
            return skip if weight > room else max(skip, value + best(place + 1, room - weight))

        return str(best(0, public["limit"]))

    def verify(self, public, answer, reference):
        answer = answer.strip()
        if not answer or len(answer) > 12 or any(symbol not in "0123456789" for symbol in answer):
            return 0.0
        return 1.0 if int(answer) == int(reference) else 0.0
