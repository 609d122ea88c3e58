"""Seed environment: weighted interval scheduling."""

import bisect
import re

# By level: jobs, last time, longest job, largest pay, jobs that may be taken (0: any number).
LEVELS = (
    (2, 9, 5, 9, 0),
    (2, 9, 5, 9, 0),
    (4, 20, 6, 99, 0),
    (7, 40, 10, 99, 2),
    (12, 60, 12, 99, 3),
    (20, 99, 15, 99, 4),
    (35, 150, 20, 499, 6),
    (60, 250, 25, 999, 8),
    (100, 400, 32, 999, 11),
    (150, 600, 40, 999, 15),
)


def most_pay(jobs, limit):
    """Highest total pay of at most `limit` jobs that do not overlap; a job is [start, end, pay]."""
    ordered = sorted(jobs, key=lambda job: job[1])
    ends = [end for _, end, _ in ordered]
    best = [0] * (len(jobs) + 1)  # best[i]: from the first i jobs in order of their end
    for _ in range(limit):
        fewer, best = best, [0]
        for place, (start, _, pay) in enumerate(ordered):
            before = bisect.bisect_right(ends, start, 0, place)
            best.append(max(best[-1], pay + fewer[before]))
    return best[-1]


class IntervalScheduling:
    """Most pay from jobs that must not overlap: one of two jobs at level 0, 150 jobs, 15 to 20 of them, at level 9."""

    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        count, last, longest, largest, limit = LEVELS[level]
        jobs = []
        for _ in range(count):
            start = rng.randint(0, last - longest)
            pay = rng.randint(1 + largest // 10, largest)
            jobs.append([start, start + rng.randint(1 + longest // 3, longest), pay])
        if level == 0:  # both at one time
            jobs[1][:2] = jobs[0][:2]
        if not limit:
            return {"jobs": jobs}, {}
        return {"jobs": jobs, "limit": limit + rng.randint(0, limit // 3)}, {}

    def render(self, public):
        first, *_, second = public["jobs"]
        if len(public["jobs"]) == 2 and first[:2] == second[:2]:
            return (
                f"Two jobs from {first[0]} to {first[1]} overlap, so only one can be taken. "
                f"One pays {first[2]}, the other pays {second[2]}.\nWhat is the highest pay?"
            )
        jobs = "\n".join(f"{start} to {end}: pays {pay}" for start, end, pay in public["jobs"])
        limit = f"Take at most {public['limit']} jobs. " if "limit" in public else ""
        return (
            f"Jobs, each from its start to its end:\n{jobs}\n"
            f"{limit}Jobs that overlap can't both be taken. A job may start when another ends.\n"
            "What is the highest total pay?"
        )

    def reference(self, public, private):
        return str(most_pay(public["jobs"], public.get("limit", len(public["jobs"]))))

    def verify(self, public, answer, reference):
        text = answer.strip()
        if not re.fullmatch(r"[+-]?[0-9]{1,40}", text):
            return 0.0
        return 1.0 if int(text) == int(reference) else 0.0
