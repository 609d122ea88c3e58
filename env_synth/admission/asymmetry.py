"""S7, the parts that need no model: solving must stay harder than checking.

compute: the interpreter steps of `reference` are counted against the length of the prompt. certificate: answers are searched
for by their looks alone, without knowing the problem, with `verify` as the oracle. Left out, for a stage with a solver: the gap
between oracle and solver, and answers given without reasoning.
"""

from __future__ import annotations

import random
import re
from typing import Any

from env_synth.admission.answer_grammar import infer
from env_synth.admission.candidate import Candidate, Context, Drawn, RefusalError, clip, stage
from env_synth.admission.levels import sampled_levels
from env_synth.admission.statistics import wilson_lower_bound
from env_synth.contract import Failure, FailureClass, Family

COUNTED_STEPS = (
    2_000_000  # counting slows code many times over: no further level after so many, and none held against the source
)
EARLIER_REFERENCES = 32
SEARCHED_INSTANCES = 16
SEARCH_BATCH = 250
MIN_SEARCHED_INSTANCES = 6
SEARCH_STEPS = 40_000_000  # of `verify`, at one level: fewer instances are searched where a call is long
_TOKEN = re.compile(r"\w+|[^\w\s]")


@stage("S7")
def check(candidate: Candidate, context: Context) -> dict[str, Any]:
    """Refuses a compute environment whose reference hardly computes, and a certificate that a blind search finds."""
    measures = _steps(candidate, context)
    if candidate.info.family is Family.CERTIFICATE:
        return measures | _search(candidate, context)
    top = candidate.info.max_level
    upper = {level: ratio for level, ratio in measures["steps_per_token"].items() if int(level) >= top / 2}
    values = list(upper.values())
    if len(values) >= 2 and max(values) < context.config.min_steps_per_token and values[-1] <= values[0]:
        expected = f"{context.config.min_steps_per_token:g} steps per prompt token at some level from the middle up, or growth"
        raise RefusalError("hardly_computes", {"expected": expected, "got": upper}, measures)
    return measures


def _steps(candidate: Candidate, context: Context) -> dict[str, Any]:
    """Interpreter steps of reference (compute) or verify (certificate) per prompt token, by level; large ones end it."""
    environment = candidate.environment(context)
    compute = candidate.info.family is Family.COMPUTE
    ratios: dict[str, float] = {}
    spent = 0
    for level in sampled_levels(candidate.info.max_level):
        item = candidate.draw(context, 0, level)
        arguments = [item.public, item.private] if compute else [item.public, item.reference, None]
        counted = environment.count_steps("reference" if compute else "verify", *arguments)
        candidate.forgiven_cpu_s += environment.last_cpu_s
        if isinstance(counted, Failure):
            if counted.failure_class is FailureClass.TIMEOUT:
                break  # more steps than can be counted
            continue
        spent += counted[1]
        ratios[str(level)] = round(counted[1] / max(1, len(_TOKEN.findall(item.prompt))), 2)
        if spent > COUNTED_STEPS:
            break
    return {"steps_per_token": ratios}


def _search(candidate: Candidate, context: Context) -> dict[str, Any]:
    """The share that a blind search finds, from the middle level up until one level resists it.

    As for compute, only an environment that is open at every level from the middle up is refused: calibration moves the rest
    to a level that resists. Held to the middle level alone, the rule refuses four of twelve sound certificates of the corpus
    and not one broken one more (docs/results.md).
    """
    top = candidate.info.max_level
    middle = max(2, top // 2)
    measures: dict[str, Any] = {}
    first: dict[str, Any] = {}
    for level in dict.fromkeys((middle, (middle + top + 1) // 2, top)):
        found, searched, is_open = _search_level(candidate, context, level)
        measures[f"found_by_search_level_{level}"] = f"{len(found)} of {searched}"
        if not is_open:
            return measures | {"search_resisted_at_level": level}
        first = first or found[0]
    limit = f"a blind search of {context.config.search_verify_calls} answers finds few from some level on"
    raise RefusalError("found_by_search", {**first, "expected": limit, "got": measures}, measures)


def _search_level(candidate: Candidate, context: Context, level: int) -> tuple[list[dict[str, Any]], int, bool]:
    """(evidence of each instance whose answer was found, instances searched, whether too many were found) at one level.

    Ends as soon as the instances that are left cannot change what is said of all of them.
    """
    earlier = [candidate.draw(context, seed, level) for seed in range(EARLIER_REFERENCES)]
    grammar = infer([(item.prompt, item.reference) for item in earlier], candidate.info.answer_type)
    calls = context.config.search_verify_calls
    found: list[dict[str, Any]] = []
    counted = candidate.environment(context).count_steps("verify", earlier[0].public, earlier[0].reference, None)
    steps = 1 if isinstance(counted, Failure) else counted[1]
    planned = max(MIN_SEARCHED_INSTANCES, min(SEARCHED_INSTANCES, SEARCH_STEPS // (calls * max(1, steps))))
    limit = context.config.max_search_success
    enough = next((k for k in range(planned + 1) if wilson_lower_bound(k, planned) > limit), planned + 1)
    searched = 0
    while len(found) < enough <= len(found) + planned - searched:
        item = candidate.draw(context, EARLIER_REFERENCES + searched, level)
        rng = random.Random(f"search/{candidate.environment_id}/{item.seed}")
        guesses = list(grammar.answers(item.prompt, rng, calls))
        hit = _first_accepted(candidate, context, item, guesses)
        if hit is not None:
            found.append({**item.place(), "input": clip(hit), "tried": len(guesses)})
        searched += 1
    return found, searched, len(found) >= enough


def _first_accepted(candidate: Candidate, context: Context, item: Drawn, guesses: list[str]) -> str | None:
    for start in range(0, len(guesses), SEARCH_BATCH):
        batch = guesses[start : start + SEARCH_BATCH]
        for answer, grade in zip(batch, candidate.grades(context, item, batch), strict=True):
            if grade == 1.0:
                return answer
    return None
