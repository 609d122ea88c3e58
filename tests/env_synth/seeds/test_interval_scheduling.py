"""The seed interval_scheduling against a brute force of its own."""

import re
from itertools import combinations


def best_subset(jobs, limit):
    """Tries every set of at most `limit` jobs."""
    best = 0
    for size in range(min(limit, len(jobs)) + 1):
        for chosen in combinations(jobs, size):
            if all(a[1] <= b[0] or b[1] <= a[0] for a, b in combinations(chosen, 2)):
                best = max(best, sum(pay for _, _, pay in chosen))
    return best


def read(prompt):
    if prompt.startswith("Two jobs from"):  # both run at the stated time
        start, end, first, second = map(int, re.findall(r"\d+", prompt))
        return [(start, end, first), (start, end, second)], 2
    jobs = [tuple(map(int, job)) for job in re.findall(r"^(\d+) to (\d+): pays (\d+)$", prompt, re.MULTILINE)]
    limit = re.search(r"at most (\d+) jobs", prompt)
    return jobs, int(limit.group(1)) if limit else len(jobs)


def test_reference_is_the_best_subset(small_cases):
    for _, case in small_cases("interval_scheduling"):
        assert case.reference == str(best_subset(*read(case.prompt))), case.prompt


def test_the_limit_binds(small_cases):
    cases = small_cases("interval_scheduling", count=30, levels=(4,))
    free = [env.reference({"jobs": case.public["jobs"]}, {}) for env, case in cases]
    assert sum(answer != case.reference for answer, (_, case) in zip(free, cases, strict=True)) >= 10


def test_touching_jobs_do_not_overlap(load_seed):
    environment = load_seed("interval_scheduling")
    assert environment.reference({"jobs": [[3, 5, 2], [1, 3, 4]]}, {}) == "6"
    assert environment.reference({"jobs": [[2, 5, 2], [1, 3, 4]]}, {}) == "4"
