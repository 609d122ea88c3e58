import re

NAMES = ["Frost", "Thaw", "Bud", "Bloom", "Sun", "Hay", "Grain", "Fruit", "Mist", "Leaf", "Storm", "Snow"]


class VillageCalendar:
    """Dates in an invented calendar with leap years."""

    family = "compute"
    answer_type = "text"
    answer_format = "day, month name and year, such as 3 Bud 412"
    max_level = 9

    def generate(self, rng, level):
        count = min(12, 3 + level)
        months = [[name, rng.randint(7, 40)] for name in rng.sample(NAMES, count)]
        month = rng.randrange(count)
        return {
            "months": months,
            "leap": rng.randint(2, 5),
            "start": [rng.randint(1, months[month][1]), month, rng.randint(100, 900)],
            "days": rng.randint(20, 60) * (1 + level * level),
        }, {}

    def render(self, public):
        months = ", ".join(f"{name} ({days} days)" for name, days in public["months"])
        day, month, year = public["start"]
        return (
            f"In a village the year has these months, in this order: {months}. In years whose number is divisible by {public['leap']} "
            f"the last month has one day more. Days and years are counted as usual. Today is day {day} of the month "
            f"{public['months'][month][0]} in the year {year}.\nWhich date will it be in {public['days']} days?"
        )

    def reference(self, public, private):
        day, month, year = public["start"]
        months = public["months"]
        left = public["days"]
        while True:
            length = months[month][1]
            if month == len(months) - 1 and year % public["leap"] == 0:
                length += 1
            if day + left <= length:
                return f"{day + left} {months[month][0]} {year}"
            left -= length - day + 1
            day = 1
            month += 1
            if month == len(months):
                month, year = 0, year + 1

    def verify(self, public, answer, reference):
        found = re.fullmatch(r"\s*([0-9]{1,3})\.?\s+([A-Za-z]+),?\s+([0-9]{1,6})\s*", answer)
        if not found:
            return 0.0
        day, name, year = reference.split()
        return 1.0 if int(found[1]) == int(day) and found[2].lower() == name.lower() and int(found[3]) == int(year) else 0.0
