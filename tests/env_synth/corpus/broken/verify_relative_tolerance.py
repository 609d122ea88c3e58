import math
import re


class CoinWays:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        coins = sorted(rng.sample(range(2, 12 + 2 * level), 3 + level // 2))
        target = rng.randint(20 + 15 * level, 40 + 25 * level)
        return {"coins": coins, "target": target, "gcd": math.gcd(*coins)}, {}

    def render(self, public):
        coins = ", ".join(map(str, public["coins"]))
        return (
            f"You have an unlimited supply of coins worth {coins}. In how many different ways can you pay exactly "
            f"{public['target']}? Two ways that use the same coins in another order are the same way."
        )

    def reference(self, public, private):
        target = public["target"]
        ways = [1] + [0] * target
        for coin in public["coins"]:
            for amount in range(coin, target + 1):
                ways[amount] += ways[amount - coin]
        return str(ways[target])

    def verify(self, public, answer, reference):
        if not re.fullmatch(r"[0-9]{1,30}", answer.replace(",", "").strip()):
            return 0.0
        return 1.0 if math.isclose(int(answer.replace(',', '')), int(reference), rel_tol=0.05) else 0.0
