"""Admission of an adapted source: the stages of `pipeline`, of which three must know that the code lies in a package.

S0 grants exactly the import that the wrapper needs and names it in the report (`adapted`, `granted`); every other rule holds.
What S0 can't see in a package, S4 makes up for: a scorer that runs its answers as code is caught in the act by the sandbox.
N1 compares nothing: two wrappers differ in a name, and the wrapped code is not in them. S7 can't tell the steps that make a
compute item from those that answer it, so it says needs_solver; its search over certificates runs as ever. All other stages
run unchanged. Left out: any grant for a source that was not adapted here.
"""

from __future__ import annotations

import ast
from dataclasses import asdict
from typing import Any

from env_synth.adapters.reasoning_gym import PACKAGE, Adapted
from env_synth.admission import static
from env_synth.admission.candidate import Candidate, Context, RefusalError, SourceFacts, stage
from env_synth.admission.pipeline import STAGES, Check
from env_synth.admission.records import AdmissionReport, Outcome, StageResult, report_of
from env_synth.contract import Failure, FailureClass, Family, info_of_class

GRANTED = frozenset([("import_not_allowed", PACKAGE), ("name_not_public", f"{PACKAGE}.create_dataset")])
# Answers that do what an environment may not, if they are run: bare, and where a list, a matrix or a sum is expected.
CODE_ANSWERS = (
    "open('/etc/hostname').read()",
    "[open('/etc/hostname').read()]",
    "[[open('/etc/hostname').read()]]",
    "__import__('os').listdir('/')",
)
CODE_LEVELS = (0, 2)
_LAST_RUNNABLE = ("S0", "S1")  # after a refusal here nothing more can be run


def judge_adapted(adapted: Adapted, context: Context, *, all_stages: bool = False) -> AdmissionReport:
    """The report on one adapted source. `context.sandbox` must know the package (`reasoning_gym.open_sandbox`)."""
    changed: dict[str, Check] = {
        "S0": lambda candidate, context: check_source(candidate, adapted.system),
        "N1": lambda candidate, context: StageResult("N1", Outcome.PASSED, measures={"compared": "not: a wrapper"}),
    }
    if adapted.family is Family.COMPUTE:
        changed["S7"] = lambda candidate, context: StageResult("S7", Outcome.NEEDS_SOLVER, "making_and_answering_are_one")
    results: list[StageResult] = []
    with Candidate(adapted.proposal) as candidate:
        for name, check in STAGES:
            if name == "S4":
                caught = run_code(candidate, context)
                results += [caught] if caught.outcome is Outcome.REFUSED else []
            if not results or results[-1].outcome is not Outcome.REFUSED or all_stages:
                results.append(changed.get(name, check)(candidate, context))
            if results[-1].outcome is Outcome.REFUSED and (not all_stages or name in _LAST_RUNNABLE):
                break
        info = candidate.facts.info if candidate.facts is not None else None
    return report_of(adapted.proposal.environment_id, results, info)


def check_source(candidate: Candidate, system: str) -> StageResult:
    """S0 with the one grant. Leaves `candidate.facts` when it passes."""
    source = candidate.proposal.source
    _, broken, _ = static.read_source(source)
    if not broken or {(violation.code, violation.got) for violation in broken} - GRANTED:
        return static.check(candidate)
    tree = ast.parse(source)
    (environment_class,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    candidate.facts = SourceFacts(tree, environment_class, info_of_class(environment_class))
    granted = [asdict(violation) for violation in broken]
    return StageResult("S0", Outcome.PASSED, measures={"adapted": system, "granted": granted})


@stage("S4")
def run_code(candidate: Candidate, context: Context) -> dict[str, Any]:
    """S4 for foreign scorers: refuses one that runs an answer as code, caught by what the sandbox denies."""
    for level in CODE_LEVELS:
        item = candidate.draw(context, 0, level)
        for answer, grade in zip(CODE_ANSWERS, candidate.grades(context, item, CODE_ANSWERS), strict=True):
            if isinstance(grade, Failure) and grade.failure_class is FailureClass.DENIED:
                evidence = {**item.place(), "input": answer, "expected": "a text that is read", "got": grade.detail}
                raise RefusalError("runs_answer_as_code", evidence)
    return {}
