"""The held-out family stable_matching against a brute force that reads the prompt alone."""

import re
from itertools import permutations


def read(prompt):
    """(jobs of each worker, workers of each job), best first, by name."""
    short = re.search(r"both want job (\d+) most and job (\d+) next. Job (\d+) takes (\w), so (\w) gets job \d+\.", prompt)
    if short:
        first, second, choosing, *workers = short.groups()
        assert choosing == first
        return {"A": [first, second], "B": [first, second]}, {first: workers, second: ["A", "B"]}
    rows = {name: row.split() for name, row in re.findall(r"^(\w+): (.+)$", prompt, re.MULTILINE)}
    return {n: row for n, row in rows.items() if n.isalpha()}, {n: row for n, row in rows.items() if n.isdigit()}


def stable_pairings(wishes, picks):
    """Every way to give out the jobs in which no worker and job would rather have each other."""
    for order in permutations(picks):
        given = dict(zip(wishes, order, strict=True))
        taker = {job: worker for worker, job in given.items()}
        if not any(
            row.index(job) < row.index(given[worker]) and picks[job].index(worker) < picks[job].index(taker[job])
            for worker, row in wishes.items()
            for job in row
        ):
            yield given


def test_reference_gives_each_worker_the_best_job_of_any_stable_pairing(family):
    several = 0
    for case in family("stable_matching").cases(range(4), 12):
        wishes, picks = read(case.prompt)
        found = list(stable_pairings(wishes, picks))
        several += len(found) > 1
        best = [min((given[worker] for given in found), key=row.index) for worker, row in wishes.items()]
        assert case.reference == " ".join(best), case.prompt
    assert several >= 1  # or the better half of the claim is not tested
