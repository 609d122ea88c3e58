import re


class Ledger:
    family = "compute"
    answer_type = "int"
    answer_format = "the final balance in cents as an integer"
    max_level = 9

    def generate(self, rng, level):
        entries = []
        for _ in range(4 + 3 * level):
            kind = rng.choice(["deposit", "withdraw", "fee", "refund"])
            entries.append([kind, rng.randint(5, 900)])
        return {"opening": rng.randint(100, 2000), "entries": entries}, {}

    def render(self, public):
        lines = "\n".join(f"{kind} {amount}" for kind, amount in public["entries"])
        return (
            f"An account opens with {public['opening']} cents. Process these entries in order:\n{lines}\n"
            "deposit x adds x. withdraw x takes x if the balance is at least x, else nothing happens. fee x takes the smaller of x and "
            "the balance. refund x adds half of x. What is the final balance?"
        )

    def reference(self, public, private):
        balance = public["opening"]
        for kind, amount in public["entries"]:
            match kind:
                case "deposit":
                    balance += amount
                case "withdraw" if balance >= amount:
                    balance -= amount
                case "fee":
                    balance -= min(amount, balance)
                case "refund":
                    balance += amount // 2
        return str(balance)

    def verify(self, public, answer, reference):
        text = answer.strip().removesuffix("cents").strip()
        return 1.0 if re.fullmatch(r"-?[0-9]{1,15}", text) and int(text) == int(reference) else 0.0
