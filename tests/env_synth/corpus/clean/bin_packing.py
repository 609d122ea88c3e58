import re


class BinPacking:
    """Put items into boxes that are filled exactly (a packing is planted)."""

    family = "certificate"
    answer_type = "ints"
    answer_format = "the box number of each item in the given order, separated by spaces"
    max_level = 8

    def generate(self, rng, level):
        boxes = 3 + level // 3
        capacity = 60 + 20 * level
        items = []
        for box in range(1, boxes + 1):
            cuts = sorted(rng.sample(range(1, capacity), 2 + (level + 1) // 2))
            sizes = [high - low for low, high in zip([0] + cuts, cuts + [capacity])]
            items += [[size, box] for size in sizes]
        rng.shuffle(items)
        return {
            "boxes": boxes,
            "capacity": capacity,
            "sizes": [size for size, _ in items],
        }, {"where": [box for _, box in items]}

    def render(self, public):
        sizes = ", ".join(map(str, public["sizes"]))
        return (
            f"Items of these sizes must go into {public['boxes']} boxes numbered 1 to {public['boxes']}: {sizes}.\n"
            f"Every item goes into one box, and the sizes in each box must add up to exactly {public['capacity']}. "
            "Give the box number of every item."
        )

    def reference(self, public, private):
        return " ".join(map(str, private["where"]))

    def verify(self, public, answer, reference):
        parts = answer.replace(",", " ").split()
        if len(parts) != len(public["sizes"]) or not all(re.fullmatch("[0-9]{1,3}", part) for part in parts):
            return 0.0
        load = [0] * public["boxes"]
        for size, part in zip(public["sizes"], parts):
            box = int(part)
            if not 1 <= box <= public["boxes"]:
                return 0.0
            load[box - 1] += size
        return 1.0 if all(amount == public["capacity"] for amount in load) else 0.0
