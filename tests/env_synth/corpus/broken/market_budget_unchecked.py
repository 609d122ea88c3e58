class MarketBasket:
    family = "certificate"
    answer_type = "ints"
    answer_format = "the numbers of the chosen goods, separated by spaces"
    max_level = 8

    def generate(self, rng, level):
        count = 6 + 2 * level
        goods = [[rng.randint(5, 60), rng.randint(5, 60)] for _ in range(count)]
        chosen = sorted(rng.sample(range(1, count + 1), count // 2))
        price = sum(goods[i - 1][0] for i in chosen)
        worth = sum(goods[i - 1][1] for i in chosen)
        return {"goods": goods, "budget": price, "worth": worth}, {"chosen": chosen}

    def render(self, public):
        goods = "\n".join(f"{i}: price {price}, worth {worth}" for i, (price, worth) in enumerate(public["goods"], 1))
        return (
            f"Goods on the market:\n{goods}\nChoose different goods with a total price of at most {public['budget']} and a total worth of at "
            f"least {public['worth']}, in any order."
        )

    def reference(self, public, private):
        return " ".join(map(str, private["chosen"]))

    def verify(self, public, answer, reference):
        try:
            chosen = [int(part) for part in answer.replace(",", " ").split()]
        except ValueError:
            return 0.0
        if len(set(chosen)) != len(chosen) or not all(1 <= i <= len(public["goods"]) for i in chosen):
            return 0.0
        return 1.0 if sum(public["goods"][i - 1][1] for i in chosen) >= public["worth"] else 0.0
