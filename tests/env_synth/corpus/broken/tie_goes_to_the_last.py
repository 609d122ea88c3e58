import re


class AuctionHouse:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        lots = [[[rng.randint(1, 5), 10 * rng.randint(1, 9)] for _ in range(3 + level // 2)] for _ in range(3 + level)]
        return {"lots": lots, "bidders": 5}, {}

    def render(self, public):
        lots = "\n".join(
            f"Lot {i}: " + ", ".join(f"bidder {who} offers {price}" for who, price in offers) for i, offers in enumerate(public["lots"], 1)
        )
        return (
            f"Offers in the order in which they were made:\n{lots}\nEach lot goes to the highest offer; of equal offers the one made first wins. "
            "For every bidder multiply the own number (1 to 5) by the sum of what he or she pays. What do the five products add up to?"
        )

    def reference(self, public, private):
        total = 0
        for offers in public["lots"]:
            winner, best = 0, 0
            for who, price in offers:
                if price >= best:
                    winner, best = who, price
            total += winner * best
        return str(total)

    def verify(self, public, answer, reference):
        return 1.0 if re.fullmatch(r"[0-9]{1,9}", answer.strip()) and int(answer) == int(reference) else 0.0
