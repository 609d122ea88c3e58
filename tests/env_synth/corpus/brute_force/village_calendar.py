import re


def solve(prompt):
    months = [(name, int(days)) for name, days in re.findall(r"([A-Z][a-z]+) \((-?\d+) days\)", prompt)]
    leap = int(re.search(r"divisible by (-?\d+)", prompt)[1])
    day, name, year = re.search(r"day (-?\d+) of the month ([A-Z][a-z]+) in the year (-?\d+)", prompt).groups()
    day, year = int(day), int(year)
    month = [other for other, _ in months].index(name)
    for _ in range(int(re.search(r"be in (-?\d+) days", prompt)[1])):
        day += 1
        last = month == len(months) - 1
        if day > months[month][1] + (last and year % leap == 0):
            day, month = 1, month + 1
            if last:
                month, year = 0, year + 1
    return f"{day} {months[month][0]} {year}"
