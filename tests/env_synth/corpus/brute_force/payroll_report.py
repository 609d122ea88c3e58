import re


def solve(prompt):
    staff = re.findall(r"^[A-Z][a-z]+, ([a-z]+), age (-?\d+), salary (-?\d+)$", prompt, re.M)
    bonus = dict(re.findall(r"([a-z]+) (-?\d+)", re.search(r"member of a team: (.*)\.", prompt)[1]))
    age = int(re.search(r"at least (-?\d+)\.", prompt)[1])
    report = []
    for team in bonus:
        counted = [int(salary) + int(bonus[team]) for other, years, salary in staff if other == team and int(years) >= age]
        if counted:
            report.append((team, sum(counted)))
    report.sort()
    report.sort(key=lambda row: row[1], reverse=True)
    return ", ".join(f"{team}={total}" for team, total in report) or "none"
