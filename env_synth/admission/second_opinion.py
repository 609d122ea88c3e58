"""A second reference or a second verifier, written by a model that saw rendered prompts and nothing else.

What the model writes is as untrusted as a proposal, so it is made into an environment-shaped source: the same static rules
judge it, and it runs only in the sandbox, through the calls that every environment answers. `solve(text)` becomes
`reference`, `check(text, answer)` becomes `verify`. Left out: asking for it (`semantic`) and whether its word decides
(`semantic`, `calibration`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
GRADED_AT_ONCE = 100
SEARCH_STEPS = 1_000_000  # of `verify`, on one instance: fewer answers are looked through where a call is long

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

    tiny: how many instances it must be able to answer; tiny_answered: how many of them it did.
    answered: instances on which it gave its word, further ones among them; agreed: those on which it said what the candidate
    says. failures: why it gave none on the others, the first few. disagreements: counterexamples that replay, all of them.
    """

    source: str
    tiny: int
    tiny_answered: int
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


def compare(subject: Subject, source: str, tiny: Sequence[Drawn], further: Sequence[Drawn] = ()) -> Comparison | Unreadable:
    """Runs an opinion on instances of the candidate. Unreadable where it cannot be loaded.

    `further`: instances that brute force may be too slow for; the first of them that it fails on ends it, and is not held
    against it. Raises RefusalError for a fault of the host, and where the candidate's own `verify` fails.
    """
    opened = open_environment(subject.context.sandbox, source)
    if isinstance(opened, Failure):
        if opened.failure_class.is_host_fault:
            raise refusal_of(opened, "load", {"call": "second opinion"})
        return Unreadable("does_not_load", opened.detail)
    failures, disagreements = list[str](), list[dict[str, Any]]()
    answered = {True: 0, False: 0}
    with opened:
        for place, item in enumerate([*tiny, *further]):
            is_tiny = place < len(tiny)
            if opened.cpu_s > subject.settings.opinion_cpu_s:
                failures.append(f"more than {subject.settings.opinion_cpu_s:g} s of CPU for the instances before")
                break
            found = _held_against(subject, opened, item, tiny if is_tiny else further)
            if isinstance(found, Failure):
                failures.append(f"{found.failure_class.value}: {found.detail}")
                if not is_tiny:
                    break
                continue
            answered[is_tiny] += 1
            if found is not None:
                disagreements.append(found)
    total = answered[True] + answered[False]
    return Comparison(
        source=source,
        tiny=len(tiny),
        tiny_answered=answered[True],
        answered=total,
        agreed=total - len(disagreements),
        failures=tuple(failures[:3]),
        disagreements=tuple(disagreements),
    )


def second_answer(environment: Environment, prompt: str) -> str | Failure:
    """What a second reference answers to a rendered prompt."""
    return _no_host_fault(environment.reference({"text": prompt}, {}))


def second_grades(environment: Environment, prompt: str, answers: Sequence[str]) -> list[float | Failure]:
    """What a second verifier makes of answers to a rendered prompt."""
    return [_no_host_fault(grade) for grade in environment.verify_cases([({"text": prompt}, text, None) for text in answers])]


# --- one instance -----------------------------------------------------------------------------------------------------


def _held_against(
    subject: Subject, opened: Environment, item: Drawn, drawn: Sequence[Drawn]
) -> dict[str, Any] | Failure | None:
    """None where the opinion says what the candidate says, else the counterexample, or why there is no word of it."""
    if subject.candidate.info.family is Family.COMPUTE:
        return _compute(subject, opened, item)
    return _certificate(subject, opened, item, [other for other in drawn if other.level == item.level])


def _compute(subject: Subject, opened: Environment, item: Drawn) -> dict[str, Any] | Failure | None:
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
    """The counterexample is the first tried answer on which second verifier and candidate differ."""
    place = (item.seed, item.level)
    if place not in subject.tried:
        subject.tried[place] = _tried(subject, item, others)
    tried = subject.tried[place]
    second = second_grades(opened, item.prompt, list(tried))
    failed = next((grade for grade in second if isinstance(grade, Failure)), None)
    if failed is not None:
        return failed
    for (answer, ours), theirs in zip(tried.items(), second, strict=True):
        if theirs != ours:
            return {**item.place(), "problem": clip(item.prompt), "input": clip(answer), "expected": theirs, "got": ours}
    return None


def _tried(subject: Subject, item: Drawn, others: Sequence[Drawn]) -> dict[str, float]:
    """Answers that opinions are asked about, and what the candidate's `verify` makes of them.

    The reference, those of other instances, texts one token away from it; and of the answers that look right by their form,
    with and without repeated tokens, as many of those that `verify` accepts as of those that it refuses: were they drawn
    blindly, hardly any accepted one would be among them.
    """
    info, settings = subject.candidate.info, subject.settings
    rng = random.Random(f"opinion/{subject.candidate.environment_id}/{item.seed}/{item.level}")
    near = [
        text
        for text in wrong_answers.mutations(item.reference, rng, MUTATIONS)
        if not wrong_answers.same_value(text, item.reference, info.answer_type)
    ]
    strange = [other.reference for other in others if other.seed != item.seed][:OTHER_REFERENCES]
    fixed = list(dict.fromkeys([item.reference, *strange, *near]))
    counted = subject.candidate.environment(subject.context).count_steps("verify", item.public, item.reference, None)
    room = 1 if isinstance(counted, Failure) else SEARCH_STEPS // max(1, counted[1])
    room = min(room, settings.opinion_searched_answers) // 2
    grammar = infer([(other.prompt, other.reference) for other in others], info.answer_type)
    formed = [*grammar.answers(item.prompt, rng, room), *replace(grammar, distinct=False).answers(item.prompt, rng, room)]
    formed = [text for text in dict.fromkeys(formed) if text not in fixed]
    graded = dict(zip(formed, _own_grades(subject, item, formed), strict=True))
    tried = dict(zip(fixed, _own_grades(subject, item, fixed), strict=True))
    for grade in (1.0, 0.0):
        tried |= dict([pair for pair in graded.items() if pair[1] == grade][: settings.opinion_answers])
    return tried


def _own_grades(subject: Subject, item: Drawn, answers: Sequence[str]) -> list[float]:
    grades = []
    for start in range(0, len(answers), GRADED_AT_ONCE):
        batch = answers[start : start + GRADED_AT_ONCE]
        for answer, grade in zip(batch, subject.candidate.grades(subject.context, item, batch), strict=True):
            if isinstance(grade, Failure):
                raise refusal_of(grade, "verify", {**item.place(), "input": clip(answer)})
            grades.append(grade)
    return grades


def _no_host_fault[T](result: T | Failure) -> T | Failure:
    if isinstance(result, Failure) and result.failure_class.is_host_fault:
        raise RefusalError("host_fault", {"call": "second opinion", "expected": "a result", "got": result.detail})
    return result
