"""A second reference or a second verifier, written by a model that saw rendered prompts and nothing else.

What the model writes is as untrusted as a proposal, so it is made into an environment-shaped source: the same static rules
judge it, and it runs only in the sandbox, through the calls that every environment answers. `solve(text)` becomes
`reference`, `check(text, answer)` becomes `verify`. Left out: asking for it (`semantic`) and whether its word decides
(`semantic`, `calibration`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from env_synth.admission import wrong_answers
from env_synth.admission.answer_grammar import infer
from env_synth.admission.asking import Subject
from env_synth.admission.candidate import Drawn, RefusalError, clip, refusal_of
from env_synth.admission.static import read_source
from env_synth.contract import Failure, Family
from env_synth.environment import Environment, open_environment
from env_synth.proposal import Unreadable, read_proposal
from env_synth.solver.protocol import Reply

OTHER_REFERENCES = 3
MUTATIONS = 8

_HEAD = """{code}


class SecondOpinion:
    family = "{family}"
    answer_type = "text"
    answer_format = "text"
    max_level = 4

    def generate(self, rng, level):
        return {{}}, {{}}

    def render(self, public):
        return public["text"]

"""
_COMPUTE = """    def reference(self, public, private):
        found = solve(public["text"])
        return " ".join(str(part) for part in found) if isinstance(found, (list, tuple)) else str(found)

    def verify(self, public, answer, reference):
        return 0.0
"""
_CERTIFICATE = """    def reference(self, public, private):
        return ""

    def verify(self, public, answer, reference):
        return 1.0 if check(public["text"], answer) else 0.0
"""


@dataclass(frozen=True)
class Comparison:
    """One opinion held against the candidate on instances.

    answered: instances on which it gave its word; agreed: those of them on which it said what the candidate says.
    failures: why it gave none on the others, the first few. disagreements: counterexamples that replay, the first few.
    """

    source: str
    instances: int
    answered: int
    agreed: int
    failures: tuple[str, ...] = ()
    disagreements: tuple[dict[str, Any], ...] = field(default=())


def read_opinion(reply: Reply, family: Family) -> str | Unreadable:
    """The environment-shaped source of what a model wrote; Unreadable where there is no code or it breaks a rule of S0."""
    found = read_proposal(reply.text)
    if isinstance(found, Unreadable):
        return found
    body = _COMPUTE if family is Family.COMPUTE else _CERTIFICATE
    source = _HEAD.format(code=found.source.rstrip(), family=family.value) + body
    facts, broken, _ = read_source(source)
    if facts is None:
        return Unreadable(broken[0].code, f"line {broken[0].line}: {broken[0].got}; expected {broken[0].expected}")
    return source


def compare(subject: Subject, source: str, instances: Sequence[Drawn]) -> Comparison | Unreadable:
    """Runs an opinion on instances of the candidate. Unreadable where it cannot be loaded.

    Raises RefusalError for a fault of the host, and where the candidate's own `verify` fails.
    """
    opened = open_environment(subject.context.sandbox, source)
    if isinstance(opened, Failure):
        if opened.failure_class.is_host_fault:
            raise refusal_of(opened, "load", {"call": "second opinion"})
        return Unreadable("does_not_load", opened.detail)
    compute = subject.candidate.info.family is Family.COMPUTE
    agreed, failures, disagreements = 0, list[str](), list[dict[str, Any]]()
    with opened:
        for item in instances:
            if opened.cpu_s > subject.settings.opinion_cpu_s:
                failures.append(f"more than {subject.settings.opinion_cpu_s:g} s of CPU for the instances before")
                continue
            others = [other for other in instances if other.level == item.level]
            found = _compute(subject, opened, item) if compute else _certificate(subject, opened, item, others)
            if isinstance(found, Failure):
                failures.append(f"{found.failure_class.value}: {found.detail}")
            elif found is None:
                agreed += 1
            else:
                disagreements.append(found)
    return Comparison(
        source, len(instances), agreed + len(disagreements), agreed, tuple(failures[:3]), tuple(disagreements[:3])
    )


def second_answer(environment: Environment, prompt: str) -> str | Failure:
    """What a second reference answers to a rendered prompt."""
    return _no_host_fault(environment.reference({"text": prompt}, {}))


def second_grades(environment: Environment, prompt: str, answers: Sequence[str]) -> list[float | Failure]:
    """What a second verifier makes of answers to a rendered prompt."""
    return [_no_host_fault(grade) for grade in environment.verify_cases([({"text": prompt}, text, None) for text in answers])]


# --- one instance -----------------------------------------------------------------------------------------------------


def _compute(subject: Subject, opened: Environment, item: Drawn) -> dict[str, Any] | Failure | None:
    """None where the second reference agrees, else the counterexample, or why there is no word of it."""
    answer = second_answer(opened, item.prompt)
    if isinstance(answer, Failure):
        return answer
    answer_type = subject.candidate.info.answer_type
    if wrong_answers.same_value(answer, item.reference, answer_type) or _own_grades(subject, item, [answer]) == [1.0]:
        return None
    return {**item.place(), "input": clip(item.prompt), "expected": clip(answer), "got": clip(item.reference)}


def _certificate(
    subject: Subject, opened: Environment, item: Drawn, others: Sequence[Drawn]
) -> dict[str, Any] | Failure | None:
    """None where the second verifier grades every tried answer as the candidate does, else the first where it does not."""
    answers = _tried_answers(subject, item, others)
    second = second_grades(opened, item.prompt, answers)
    failed = next((grade for grade in second if isinstance(grade, Failure)), None)
    if failed is not None:
        return failed
    for answer, theirs, ours in zip(answers, second, _own_grades(subject, item, answers), strict=True):
        if theirs != ours:
            return {**item.place(), "problem": clip(item.prompt), "input": clip(answer), "expected": theirs, "got": ours}
    return None


def _tried_answers(subject: Subject, item: Drawn, others: Sequence[Drawn]) -> list[str]:
    """The reference, those of other instances, texts one token away from it, and what an answer could look like."""
    info = subject.candidate.info
    rng = random.Random(f"opinion/{subject.candidate.environment_id}/{item.seed}/{item.level}")
    near = [
        text
        for text in wrong_answers.mutations(item.reference, rng, MUTATIONS)
        if not wrong_answers.same_value(text, item.reference, info.answer_type)
    ]
    strange = [other.reference for other in others if other.seed != item.seed][:OTHER_REFERENCES]
    tried = [item.reference, *strange, *near]
    room = max(0, subject.settings.opinion_answers - len(tried))
    grammar = infer([(other.prompt, other.reference) for other in others], info.answer_type)
    return list(dict.fromkeys([*tried, *grammar.answers(item.prompt, rng, room)]))


def _own_grades(subject: Subject, item: Drawn, answers: Sequence[str]) -> list[float]:
    grades = []
    for answer, grade in zip(answers, subject.candidate.grades(subject.context, item, answers), strict=True):
        if isinstance(grade, Failure):
            raise refusal_of(grade, "verify", {**item.place(), "input": clip(answer)})
        grades.append(grade)
    return grades


def _no_host_fault[T](result: T | Failure) -> T | Failure:
    if isinstance(result, Failure) and result.failure_class.is_host_fault:
        raise RefusalError("host_fault", {"call": "second opinion", "expected": "a result", "got": result.detail})
    return result
