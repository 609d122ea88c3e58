import re


class TeamPlan:
    family = "certificate"
    answer_type = "ints"
    answer_format = "the numbers of the chosen people, separated by spaces"
    max_level = 8

    def generate(self, rng, level):
        count = 7 + 2 * level
        pay = [rng.randint(20, 90) for _ in range(count)]
        skill = [rng.randint(1, 50) for _ in range(count)]
        team = sorted(rng.sample(range(count), count // 2))
        return {"pay": pay, "skill": skill, "sum": sum(skill[i] for i in team), "cost": sum(pay[i] for i in team)}, {"team": team}

    def render(self, public):
        people = ", ".join(f"person {i} has skill {skill}" for i, skill in enumerate(public["skill"], 1))
        return f"{people}.\nChoose different people whose skills add up to exactly {public['sum']} and who are affordable, in any order."

    def reference(self, public, private):
        return " ".join(str(i + 1) for i in private["team"])

    def verify(self, public, answer, reference):
        parts = re.findall(r"[0-9]+", answer)
        if re.search(r"[^0-9\s,]", answer) or any(len(part) > 3 for part in parts):
            return 0.0
        team = [int(part) - 1 for part in parts]
        if len(set(team)) != len(team) or not all(0 <= i < len(public["pay"]) for i in team):
            return 0.0
        right = sum(public["skill"][i] for i in team) == public["sum"] and sum(public["pay"][i] for i in team) <= public["cost"]
        return 1.0 if right else 0.0
