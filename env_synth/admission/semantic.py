"""S8: does the environment mean what its prompt says? Three reviews, and a second reference or verifier written from the prompt
alone.

Every review has a lens of its own; any one that finds a defect refuses, and so does one that cannot be read. Then a model
that sees only rendered prompts writes `opinions` brute-force solvers (compute) or checkers (certificate). One is of use if
it keeps S0's rules, runs, and answers nearly all tiny instances; it agrees if it says what the environment says on at least
`min_opinion_agreement_fraction` of them. More than half of those of use must agree, and on no
instance may more than half of them say the same against the environment. None of use refuses as well, because then nothing
speaks for it. Every verdict is kept in the measures. Left out: any reward for a good review.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import msgspec

from env_synth.admission.asking import Ask, Asking, Subject, model_stage
from env_synth.admission.candidate import Drawn, RefusalError, clip
from env_synth.admission.second_opinion import Comparison, compare, read_opinion
from env_synth.contract import Family
from env_synth.prompts import (
    LENSES,
    ReviewExample,
    review_prompt,
    second_reference_prompt,
    second_verifier_prompt,
)
from env_synth.proposal import THINK_END, Unreadable
from env_synth.solver.protocol import Reply

EXAMPLE_LEVEL = 1  # of the instance that reviewers see: small enough to work out, large enough to show the rules
UNTRIED = 100  # index of the instances that authors of second opinions are shown: none that they are tried on
KEPT_DISAGREEMENTS = 3
VERDICT_LINES = 40  # at the end of a reply, where a verdict is looked for


class ReviewVerdict(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a review must end in, as JSON; anything else is unreadable."""

    verdict: Literal["sound", "broken"]
    problem: str


@model_stage("S8")
def check(subject: Subject) -> Asking[dict[str, Any]]:
    """Refuses a source that a review finds broken, or that the second references or verifiers contradict."""
    reviews = yield from _reviews(subject)
    measures: dict[str, Any] = {"solver": subject.lent.solver.name, "reviews": reviews}
    for review in reviews:
        if review["verdict"] != "sound":
            reason = "review_unreadable" if review["verdict"] == "unreadable" else f"review_{review['lens']}"
            evidence = {"lens": review["lens"], "problem": review["problem"], "expected": "sound", "got": review["verdict"]}
            raise RefusalError(reason, evidence, measures)
    comparisons, unusable = yield from _opinions(subject)
    measures["opinions"] = [_summary(found) for found in comparisons] + unusable
    _decide(subject, comparisons, unusable, measures)
    return measures


def read_verdict(text: str) -> ReviewVerdict | None:
    """The verdict that a reply ends in: the last line that begins a JSON object which runs to the reply's end; else None.

    A fence around it and nothing else may follow. What stands before the last `</think>` does not count.
    """
    answer = text.rpartition(THINK_END)[2].strip()
    while answer.endswith("`"):
        answer = answer[:-1].rstrip()
    lines = answer.split("\n")[-VERDICT_LINES:]
    for start in range(len(lines) - 1, -1, -1):
        if lines[start].lstrip().startswith("{"):
            try:
                return msgspec.json.decode("\n".join(lines[start:]), type=ReviewVerdict)
            except (msgspec.DecodeError, ValueError):
                continue
    return None


# --- reviews ----------------------------------------------------------------------------------------------------------


def _reviews(subject: Subject) -> Asking[list[dict[str, Any]]]:
    candidate, settings = subject.candidate, subject.settings
    drawn = candidate.draw(subject.context, 0, EXAMPLE_LEVEL)
    subject.rest()
    example = ReviewExample(drawn.prompt, candidate.info.answer_format, drawn.reference)
    prompts = tuple(review_prompt(lens, candidate.proposal.source, example) for lens in LENSES)
    replies = yield Ask(prompts, 1, settings.review_tokens, settings.review_temperature, settings.seed)
    return [_review(lens, reply) for lens, (reply,) in zip(LENSES, replies, strict=True)]


def _review(lens: str, reply: Reply) -> dict[str, Any]:
    found = None if reply.truncated else read_verdict(reply.text)
    problem = "truncated" if reply.truncated else "no JSON verdict at the end"
    return {
        "lens": lens,
        "verdict": "unreadable" if found is None else found.verdict,
        "problem": clip(problem if found is None else found.problem),
        "reply": clip(reply.text[-1500:]),
        "reply_sha256": _digest(reply.text),
    }


# --- second opinions --------------------------------------------------------------------------------------------------


def _opinions(subject: Subject) -> Asking[tuple[list[Comparison], list[dict[str, Any]]]]:
    """(what came of each opinion of use, and why each of the others is of none)."""
    candidate, settings = subject.candidate, subject.settings
    shown = _instances(subject, (*settings.opinion_levels, *settings.opinion_further_levels), range(UNTRIED, UNTRIED + 1))
    compute = candidate.info.family is Family.COMPUTE
    ask = second_reference_prompt if compute else second_verifier_prompt
    prompt = ask([item.prompt for item in shown], candidate.info.answer_format)
    subject.rest()
    (replies,) = yield Ask((prompt,), settings.opinions, settings.opinion_tokens, settings.opinion_temperature, settings.seed)
    tiny = _instances(subject, settings.opinion_levels, range(settings.opinion_instances))
    further = _instances(subject, settings.opinion_further_levels, range(settings.opinion_instances))
    found: list[Comparison] = []
    unusable: list[dict[str, Any]] = []
    for reply in replies:
        outcome = _opinion(subject, reply, tiny, further)
        if isinstance(outcome, Comparison):
            found.append(outcome)
        else:
            unusable.append({"unusable": outcome.reason, "detail": clip(outcome.detail), "reply_sha256": _digest(reply.text)})
    subject.rest()
    return found, unusable


def _opinion(subject: Subject, reply: Reply, tiny: list[Drawn], further: list[Drawn]) -> Comparison | Unreadable:
    source = read_opinion(reply, subject.candidate.info.family)
    if isinstance(source, Unreadable):
        return source
    found = compare(subject, source, tiny, further)
    if isinstance(found, Comparison) and found.tiny_answered < subject.settings.min_opinion_answered_fraction * found.tiny:
        return Unreadable("fails_on_instances", f"{found.tiny_answered} of {found.tiny} answered: {'; '.join(found.failures)}")
    return found


def _instances(subject: Subject, levels: tuple[int, ...], seeds: range) -> list[Drawn]:
    candidate = subject.candidate
    within = [level for level in levels if level <= candidate.info.max_level]
    return [candidate.draw(subject.context, seed, level) for level in within for seed in seeds]


def _decide(subject: Subject, comparisons: list[Comparison], unusable: list[dict[str, Any]], measures: dict[str, Any]) -> None:
    kind = "reference" if subject.candidate.info.family is Family.COMPUTE else "verifier"
    if not comparisons:
        reasons = [row["unusable"] for row in unusable]
        nothing = {"expected": f"a second {kind} that keeps the rules, runs, and answers", "got": reasons}
        raise RefusalError("no_second_opinion", {**nothing, "details": [row["detail"] for row in unusable]}, measures)
    agreeing = [found for found in comparisons if _agrees(subject, found)]
    others = [found for found in comparisons if not _agrees(subject, found)]
    subject.opinions = tuple(found.source for found in (*agreeing, *others))
    subject.agreeing = len(agreeing)
    shared = _shared_counterexample(comparisons)
    if 2 * len(agreeing) <= len(comparisons) or shared is not None:
        first = shared or others[0].disagreements[0]
        counts = {"opinions_of_use": len(comparisons), "opinions_that_agree": len(agreeing)}
        source = next(found.source for found in comparisons if first in found.disagreements)
        raise RefusalError(f"second_{kind}_disagrees", {**first, **counts, "opinion": source}, measures)


def _shared_counterexample(comparisons: list[Comparison]) -> dict[str, Any] | None:
    """The first counterexample on which more than half of at least two opinions say one and the same against the candidate.

    However rare: two authors who know nothing of each other seldom blunder alike on the same instance, so that a tie which
    the environment breaks wrongly is seen where each author alone agrees nearly everywhere.
    """
    for found in comparisons:
        for disagreement in found.disagreements:
            holders = sum(disagreement in other.disagreements for other in comparisons)
            if holders >= 2 and 2 * holders > len(comparisons):
                return disagreement
    return None


def _agrees(subject: Subject, found: Comparison) -> bool:
    return found.agreed >= subject.settings.min_opinion_agreement_fraction * found.answered


def _summary(found: Comparison) -> dict[str, Any]:
    counts = {"tiny": found.tiny, "tiny_answered": found.tiny_answered, "answered": found.answered, "agreed": found.agreed}
    return {**counts, "disagreements": list(found.disagreements[:KEPT_DISAGREEMENTS]), "source": found.source}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
