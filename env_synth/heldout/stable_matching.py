"""Held-out environment: workers and jobs that choose one another."""

import re

COUNTS = (2, 3, 4, 5, 7, 9, 12, 16, 20, 24)  # by level: workers, and as many jobs
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def settled(wishes, picks):
    """The job of each worker when nobody asks any more (Gale and Shapley); row i of picks is the i-th smallest job's."""
    rank = {job: {worker: place for place, worker in enumerate(row)} for job, row in zip(sorted(wishes[0]), picks, strict=True)}
    waiting = list(range(len(wishes)))
    asked = [0] * len(wishes)
    holder = {}
    while waiting:
        worker = waiting.pop()
        job = wishes[worker][asked[worker]]
        asked[worker] += 1
        other = holder.get(job)
        if other is None:
            holder[job] = worker
        elif rank[job][worker] < rank[job][other]:
            holder[job] = worker
            waiting.append(other)
        else:
            waiting.append(worker)
    return sorted(holder, key=holder.get)


class StableMatching:
    """Who gets which job when jobs keep whom they like best: two workers at level 0, 24 at level 9.

    Workers like much the same jobs, so that most of them are refused several times.
    """

    family = "compute"
    answer_type = "ints"
    answer_format = "the jobs, separated by spaces"
    max_level = 9

    def generate(self, rng, level):
        count = COUNTS[level]
        jobs = rng.sample(range(1, max(20, 2 * count)), count)
        if level == 0:  # both want the same job; the other one need not choose
            picks = [rng.sample((0, 1), 2) if job == jobs[0] else [] for job in sorted(jobs)]
            return {"wishes": [jobs, jobs], "picks": picks}, {}
        wishes = []
        for _ in range(count):
            liked = {job: place + rng.random() * count * 0.7 for place, job in enumerate(jobs)}
            wishes.append(sorted(jobs, key=liked.get))
        return {"wishes": wishes, "picks": [rng.sample(range(count), count) for _ in range(count)]}, {}

    def render(self, public):
        wishes, picks = public["wishes"], public["picks"]
        jobs = sorted(wishes[0])
        if len(jobs) == 2:
            first, second = wishes[0]
            better, worse = (LETTERS[worker] for worker in picks[jobs.index(first)])
            return (
                f"A and B both want job {first} most and job {second} next. Job {first} takes {better}, "
                f"so {worse} gets job {second}.\nWhich jobs do A and B get, first A, then B?"
            )
        wanted = "\n".join(f"{LETTERS[worker]}: {' '.join(map(str, row))}" for worker, row in enumerate(wishes))
        liked = "\n".join(f"{job}: {' '.join(LETTERS[worker] for worker in row)}" for job, row in zip(jobs, picks, strict=True))
        return (
            f"Jobs each worker wants, best first:\n{wanted}\nWorkers each job wants, best first:\n{liked}\n"
            "Workers ask for jobs in the order of their lists. A job keeps the best on its list of those who asked so far. Who "
            "is not kept asks for the next job, until all have one. It does not matter who asks first.\n"
            f"Which jobs do A to {LETTERS[len(jobs) - 1]} get, in this order?"
        )

    def reference(self, public, private):
        return " ".join(str(job) for job in settled(public["wishes"], public["picks"]))

    def verify(self, public, answer, reference):
        parts = re.split(r"[\s,]+", answer.strip(" []()"))
        if not all(re.fullmatch(r"[0-9]{1,9}", part) for part in parts):
            return 0.0
        return 1.0 if [int(part) for part in parts] == [int(part) for part in reference.split()] else 0.0
