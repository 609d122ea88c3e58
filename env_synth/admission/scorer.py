"""S4: does `verify` tell right from wrong? The reference is right everywhere; a catalogue of wrong answers is not.

compute has one right answer, so anything of another value must get 0. A certificate may accept answers that were not planted,
so only answers that are wrong in form, or accepted far too often, count against it. Left out: whether the reference
itself is right, which no scorer can know (a second reference, S8).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from env_synth.admission import wrong_answers
from env_synth.admission.candidate import Candidate, Context, Drawn, RefusalError, clip, stage
from env_synth.admission.records import HOST_FAULT
from env_synth.contract import Failure, Family

INSTANCES_A_LEVEL = 4
MUTATIONS_AN_INSTANCE = 24
TRANSPOSITIONS_AN_INSTANCE = 4
FUZZED_INSTANCES = 4
_ORDER_IS_FREE = re.compile(
    r"any order|order (?:does|do) ?n[o']t matter|order is (?:free|irrelevant)|in whatever order|as a set", re.I
)


@dataclass(frozen=True)
class _Trial:
    """Wrong answers of one kind to one instance. `limit`: the share of accepted ones that refuses, over all instances."""

    kind: str
    drawn: Drawn
    answers: tuple[str, ...]


@stage("S4")
def check(candidate: Candidate, context: Context) -> dict[str, Any]:
    """Refuses a `verify` that rejects the reference, accepts wrong answers, or raises."""
    everything = [candidate.draws[key] for key in sorted(candidate.draws)]
    _check_references(candidate, context, everything)
    chosen = _instances(candidate, context)
    _check_fuzz(candidate, context, chosen[:: max(1, len(chosen) // FUZZED_INSTANCES)][:FUZZED_INSTANCES])
    tally: dict[str, list[int]] = {}
    examples: dict[str, dict[str, Any]] = {}
    for trial in _trials(candidate, chosen):
        found = tally.setdefault(trial.kind, [0, 0])
        for answer, grade in _graded(candidate, context, trial.drawn, trial.answers):
            found[0] += grade == 1.0
            found[1] += 1
            if grade == 1.0:
                evidence = {**trial.drawn.place(), "input": clip(answer), "expected": 0.0, "got": 1.0}
                examples.setdefault(trial.kind, {**evidence, "reference": clip(trial.drawn.reference)})
    measures = {f"accepted_{kind}": f"{accepted} of {total}" for kind, (accepted, total) in tally.items()}
    for kind, (accepted, total) in tally.items():
        limit = _limit(kind, candidate, context)
        if limit is not None and accepted > limit * total:
            evidence = {**examples[kind], "accepted": accepted, "tried": total, "limit": limit}
            raise RefusalError(f"accepts_{kind}", evidence, measures)
    return measures


def _limit(kind: str, candidate: Candidate, context: Context) -> float | None:
    """The share of accepted answers of a kind above which `verify` is refused; None: only measured."""
    config = context.config
    if candidate.info.family is Family.COMPUTE:
        if kind == "mutations":
            return 1.0 - config.min_mutation_refused_fraction
        return 0.5 if kind == "swaps" else 0.0
    if kind.startswith("extension"):
        return 0.5
    allowed = config.max_certificate_mutation_accepted_fraction
    if kind in ("swaps", "transpositions"):
        return None  # the colours of two nodes may change places
    limits = {"mutations": allowed, "constants": 0.5, "other_references": 0.9, "lists": allowed}
    return limits.get(kind, 0.0)


def _instances(candidate: Candidate, context: Context) -> list[Drawn]:
    top = candidate.info.max_level
    levels = sorted({0, 1, 2, 4, top // 2})
    found = [candidate.draw(context, seed, level) for level in levels for seed in range(INSTANCES_A_LEVEL)]
    return found + [candidate.draw(context, seed, top) for seed in range(context.config.execute_top_seeds)]


def _check_references(candidate: Candidate, context: Context, drawn: Sequence[Drawn]) -> None:
    environment = candidate.environment(context)
    grades = environment.verify_cases([(item.public, item.reference, item.reference) for item in drawn])
    candidate.check_budget(context)
    for item, grade in zip(drawn, grades, strict=True):
        evidence = {**item.place(), "call": "verify", "input": clip(item.reference), "expected": 1.0}
        if isinstance(grade, Failure):
            raise _raised(grade, evidence)
        if grade != 1.0:
            raise RefusalError("reference_rejected", {**evidence, "got": grade})


def _check_fuzz(candidate: Candidate, context: Context, drawn: Sequence[Drawn]) -> None:
    each = -(-context.config.scorer_fuzz_texts // len(drawn))
    for item in drawn:
        texts = wrong_answers.fuzz_texts(_rng(candidate, item, "fuzz"), each, item.reference)
        for answer, grade in _graded(candidate, context, item, texts):
            if grade == 1.0 and candidate.info.family is Family.COMPUTE:
                evidence = {**item.place(), "input": clip(answer), "expected": 0.0, "got": 1.0}
                raise RefusalError("accepts_fuzz", {**evidence, "reference": clip(item.reference)})


def _graded(candidate: Candidate, context: Context, item: Drawn, answers: Sequence[str]) -> Iterator[tuple[str, float]]:
    """(answer, grade) of the answers that do not spell the reference. Raises RefusalError where `verify` fails."""
    kind = candidate.info.answer_type
    wrong = [answer for answer in answers if not wrong_answers.same_value(answer, item.reference, kind)]
    for answer, grade in zip(wrong, candidate.grades(context, item, wrong), strict=True):
        if isinstance(grade, Failure):
            raise _raised(grade, {**item.place(), "call": "verify", "input": clip(answer), "expected": "1.0 or 0.0"})
        yield answer, grade


def _raised(failure: Failure, evidence: dict[str, Any]) -> RefusalError:
    name = HOST_FAULT if failure.failure_class.is_host_fault else f"verify_{failure.failure_class.value}"
    return RefusalError(name, {**evidence, "got": failure.detail})


def _trials(candidate: Candidate, chosen: Sequence[Drawn]) -> Iterator[_Trial]:
    answer_type = candidate.info.answer_type
    for place, item in enumerate(chosen):
        rng = _rng(candidate, item, "wrong")
        same_level = [other for other in chosen if other.level == item.level and other.reference != item.reference]
        other = same_level[place % len(same_level)].reference if same_level else "7"
        yield _Trial("empty", item, ("", " ", "\n"))
        yield _Trial("junk", item, wrong_answers.JUNK)
        yield _Trial("wrong_types", item, wrong_answers.WRONG_TYPES)
        yield _Trial("echo", item, (item.prompt, item.prompt + "\n" + item.reference, candidate.info.answer_format))
        yield _Trial("constants", item, wrong_answers.CONSTANTS)
        yield _Trial("lists", item, tuple(wrong_answers.lists_around(item.reference, other, answer_type)))
        yield _Trial("other_references", item, tuple(sorted({found.reference for found in same_level})))
        yield _Trial("mutations", item, tuple(wrong_answers.mutations(item.reference, rng, MUTATIONS_AN_INSTANCE)))
        for place_of, answer in enumerate(wrong_answers.extended(item.reference)):
            yield _Trial(f"extension_{place_of}", item, (answer,))
        if not _ORDER_IS_FREE.search(item.prompt):
            exchanged = wrong_answers.transposed(item.reference, rng, TRANSPOSITIONS_AN_INSTANCE)
            yield _Trial("transpositions", item, tuple(exchanged))
            swap = wrong_answers.swapped(item.reference, rng)
            yield _Trial("swaps", item, () if swap is None else (swap,))


def _rng(candidate: Candidate, item: Drawn, purpose: str) -> random.Random:
    return random.Random(f"{candidate.environment_id}/{item.seed}/{item.level}/{purpose}")
