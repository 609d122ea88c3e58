import re

NAMES = ["Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana", "Ivo", "Jill", "Kai", "Lena", "Max", "Nora", "Otto", "Pia"]
NAMES += ["Quin", "Rosa", "Sam", "Tara", "Uma", "Vic", "Wim", "Xena", "Yuri", "Zoe"]
TEAMS = ["sales", "tech", "legal", "press", "stock"]


class PayrollReport:
    """A small query with a filter, a join-like bonus, grouping and sorting."""

    family = "compute"
    answer_type = "text"
    answer_format = "team=total pairs in order, separated by commas, such as tech=120, sales=80"
    max_level = 9

    def generate(self, rng, level):
        teams = rng.sample(TEAMS, 3 + level // 4)
        people = [
            [name, rng.choice(teams), rng.randint(20, 64), 10 * rng.randint(15, 60)] for name in rng.sample(NAMES, 6 + 2 * level)
        ]
        return {
            "people": people,
            "age": rng.randint(28, 40),
            "bonus": [[team, rng.randint(1, 9)] for team in teams],
        }, {}

    def render(self, public):
        people = "\n".join(f"{name}, {team}, age {age}, salary {salary}" for name, team, age, salary in public["people"])
        bonus = ", ".join(f"{team} {bonus}" for team, bonus in public["bonus"])
        return (
            f"Staff:\n{people}\nBonus for every counted member of a team: {bonus}.\n"
            f"Count only people whose age is at least {public['age']}. For every team with at least one counted member, add up salary plus "
            "bonus of its counted members. List the teams with their totals, the largest total first; equal totals in alphabetical "
            "order of the team. Leave out teams without counted members; if no team is left, answer none."
        )

    def reference(self, public, private):
        bonus = dict(public["bonus"])
        totals = {}
        for _, team, age, salary in public["people"]:
            if age >= public["age"]:
                totals[team] = totals.get(team, 0) + salary + bonus[team]
        ranked = sorted(totals.items(), key=lambda pair: (-pair[1], pair[0]))
        return ", ".join(f"{team}={total}" for team, total in ranked) or "none"

    def verify(self, public, answer, reference):
        def pairs(text):
            return [re.sub(r"\s", "", part).lower() for part in text.split(",")]

        return 1.0 if pairs(answer) == pairs(reference) else 0.0
