"""S2: the same seed and level give the same everything: again, in another worker, under another hash seed.

Instances are drawn again in reverse order, in the same worker (state kept between calls shows), in a second worker of the
same zygote, and in a worker whose strings hash differently (set order shows). A fourth worker runs the source behind a probe
that notices when a method changes its arguments. Left out: state that waits for more calls than these (S0 refuses its forms).
"""

from __future__ import annotations

from typing import Any

from env_synth.admission.candidate import Candidate, Context, Drawn, RefusalError, clip, refusal_of, stage
from env_synth.contract import EnvironmentInfo, Failure, Split
from env_synth.environment import Environment, open_environment
from env_synth.instances import instance_seed

REPEATED_SEEDS = 2  # of each level that S1 drew
MUTATION_LEVELS = (0, 2)
_PARTS = ("public", "private", "prompt", "reference")

# Put under a source in the sandbox: the one class the worker then finds, which runs the source's own and watches it.
_PROBE = """

Watched = [{class_name}]
del {class_name}
import json as probe_json


class MutationProbe:
    family = {family!r}
    answer_type = {answer_type!r}
    answer_format = {answer_format!r}
    max_level = {max_level!r}

    def generate(self, rng, level):
        return Watched[0]().generate(rng, level)

    def render(self, public):
        return Watched[0]().render(public)

    def reference(self, public, private):
        reference = Watched[0]().reference(public, private)
        grown = []
        for name, arguments in (
            ("render", [public]),
            ("reference", [public, private]),
            ("verify", [public, reference, {shown}]),
        ):
            before = probe_json.dumps(arguments)
            getattr(Watched[0](), name)(*arguments)
            if probe_json.dumps(arguments) != before:
                grown.append(name)
        return " ".join(grown) or "none"

    def verify(self, public, answer, reference):
        return 0.0
"""


@stage("S2")
def check(candidate: Candidate, context: Context) -> dict[str, Any]:
    """Refuses a source whose results differ between calls, workers or hash seeds, or that changes its arguments."""
    drawn = [candidate.draws[key] for key in sorted(candidate.draws) if key[0] < REPEATED_SEEDS]
    ways = (
        ("the same worker", candidate.environment(context)),
        ("another worker", candidate.environment(context, copy=1)),
        ("another hash seed", candidate.environment(context, hash_seed=1)),
    )
    for way, environment in ways:
        for first in reversed(drawn):
            _compare(first, candidate.draw_anew(context, environment, first.seed, first.level), way)
    _check_grades(candidate, context, drawn)
    _check_mutation(candidate, context)
    return {"repeated": len(drawn), "ways": len(ways)}


def _compare(first: Drawn, second: Drawn, way: str) -> None:
    for part in _PARTS:
        before, after = getattr(first, part), getattr(second, part)
        if before != after:
            evidence = {**first.place(), "way": way, "part": part, "expected": clip(before), "got": clip(after)}
            raise RefusalError("not_deterministic", evidence)


def _check_grades(candidate: Candidate, context: Context, drawn: list[Drawn]) -> None:
    """The same answers, graded forwards and then backwards in a worker that has graded others before."""
    cases = [(first, answer) for first in drawn for answer in (first.reference, "", "0", drawn[0].reference)]
    environments: list[Environment] = [candidate.environment(context), candidate.environment(context, hash_seed=1)]
    grades = []
    for environment, order in zip(environments, (cases, cases[::-1]), strict=True):
        found = environment.verify_cases([(case.public, answer, case.reference) for case, answer in order])
        grades.append([_plain(grade) for grade in (found if order is cases else found[::-1])])
    for (first, answer), before, after in zip(cases, *grades, strict=True):
        if before != after:
            evidence = {**first.place(), "way": "another order", "part": "verify", "input": clip(answer)}
            raise RefusalError("not_deterministic", {**evidence, "expected": before, "got": after})
    candidate.check_budget(context)


def _plain(grade: float | Failure) -> float | str:
    return grade.failure_class.value if isinstance(grade, Failure) else grade


def _check_mutation(candidate: Candidate, context: Context) -> None:
    source = candidate.proposal.source + probe_of(candidate.info)
    # Run as the source itself is: it is the same code, and the probe is ours.
    opened = open_environment(context.sandbox, source, trusted=candidate.trusted)
    if isinstance(opened, Failure):
        return  # a source that names its own class while loading cannot be watched this way
    with opened:
        for level in MUTATION_LEVELS:
            number = instance_seed(candidate.environment_id, Split.TRAIN, 0, level)
            made = opened.generate(number, level)
            if isinstance(made, Failure):
                return  # the source refers to its own class by name, which the probe has taken away
            changed = opened.reference(*made)
            if isinstance(changed, Failure):
                if changed.failure_class.is_host_fault:
                    raise refusal_of(changed, "reference", {"seed": 0, "level": level})
                return
            if changed != "none":
                evidence = {"seed": 0, "level": level, "call": changed, "expected": "arguments left as they were"}
                raise RefusalError("changes_arguments", {**evidence, "got": f"{changed} changed its arguments"})


def probe_of(info: EnvironmentInfo) -> str:
    """The text that, put under a source, makes a worker watch it for changed arguments."""
    return _PROBE.format(
        class_name=info.class_name,
        family=info.family.value,
        answer_type=info.answer_type.value,
        answer_format=info.answer_format,
        max_level=info.max_level,
        shown="reference" if info.family.value == "compute" else "None",
    )
