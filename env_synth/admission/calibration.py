"""S9: at which level does this solver learn from the environment, and does it at all?

A sequential test picks the level or refuses; fresh instances then give the solve rate, how many groups are mixed, and
whether one wrong answer is so common that the reference may be the wrong one. Cheap strategies must fail at that level too, as
in S5, which did not know it. Two levels up the solver must fall behind the oracle, and answers without reasoning must not do
(the parts of S7 that need a solver); a solve rate that rises with the level refuses (the part of S6). Every reply is graded by
`verify` in the sandbox. Left out: the reward (`learnability`), later rounds of training.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from env_synth.admission.asking import Ask, Asking, Subject, model_stage
from env_synth.admission.attackers import LOWEST_LEVEL, attack, middle_level
from env_synth.admission.candidate import Drawn, RefusalError, clip, refusal_of
from env_synth.admission.learnability import expected_learnability
from env_synth.admission.second_opinion import second_answer, second_grades
from env_synth.admission.sequential import LevelSearch
from env_synth.admission.statistics import permutation_tail, wilson_lower_bound
from env_synth.admission.wrong_answers import same_value
from env_synth.answers import answer_instruction, extract_answer
from env_synth.contract import Failure, Family
from env_synth.environment import open_environment
from env_synth.prompts import DIRECT_INSTRUCTION
from env_synth.solver.protocol import Reply

# Indices of the training split from which instances are drawn: no stage before S9 and no two purposes share one.
SEARCH_INDEX, CALIBRATION_INDEX, GAP_INDEX, DIRECT_INDEX = 10_000, 20_000, 30_000, 40_000
FIT_SEEDS = (0, 1)  # S1 has drawn these at the top
TRIES = 8  # indices looked at for one instance whose prompt was not asked before
SIGNIFICANCE = 0.05  # one-sided, of a solve rate that rises with the level


@dataclass(frozen=True)
class Group:
    """One instance, the answers found in the replies to it (None: no answer), their grades, and how many were truncated."""

    drawn: Drawn
    answers: tuple[str | None, ...]
    solved: tuple[bool, ...]
    truncated: int


@model_stage("S9")
def check(subject: Subject) -> Asking[dict[str, Any]]:
    """Refuses what the solver solves never, always, only truncated, without thought, or better at higher levels."""
    asked = _Asked(subject)
    measures: dict[str, Any] = {"solver": subject.lent.solver.name}
    top = _top_level(subject, measures)
    search = LevelSearch(top, subject.settings)
    while search.level is not None:
        found = yield from asked.groups(search.level, subject.settings.search_batch, 1, SEARCH_INDEX)
        search.add(group.solved[0] for group in found)
    measures |= {"search": search.tally(), "search_replies": search.replies}
    if search.chosen is None:
        evidence = {"expected": _wanted(subject), "got": search.tally()}
        raise RefusalError(search.refusal, evidence, measures)
    groups = yield from _calibrated(subject, asked, search.chosen, search.other)
    level = groups[0].drawn.level
    measures |= _rates(groups, level)
    _check_rates(subject, groups, measures)
    _check_guesses(subject, level, measures)
    _check_plurality(subject, groups, measures)
    yield from _check_gap(subject, asked, groups, measures)
    yield from _check_direct(subject, asked, level, measures)
    subject.rest()
    return measures


def _top_level(subject: Subject, measures: dict[str, Any]) -> int:
    """The highest level whose prompts the solver could be trained on; prompts are taken to grow with the level."""
    info = subject.candidate.info
    if _fits(subject, info.max_level):
        return info.max_level
    top = bisect_left(range(info.max_level), True, key=lambda level: not _fits(subject, level)) - 1
    measures["top_level"] = top
    if top < 0:
        evidence = {"expected": "a prompt at level 0 that the solver could be trained on", "got": "longer ones"}
        raise RefusalError("prompt_too_long", evidence, measures)
    return top


def _fits(subject: Subject, level: int) -> bool:
    drawn = [subject.candidate.draw(subject.context, seed, level) for seed in FIT_SEEDS]
    instruction = answer_instruction(subject.candidate.info, subject.settings.extraction_rule)
    return all(subject.lent.trainable(f"{item.prompt}\n{instruction}") for item in drawn)


def _calibrated(subject: Subject, asked: _Asked, chosen: int, other: int | None) -> Asking[list[Group]]:
    """Fresh groups at the chosen level; where their solve rate is outside the window, at the level across the zone, if any.

    Few replies may put a level that is never solved nearer to the target than the one before, which is of use.
    """
    settings = subject.settings
    groups: list[Group] = []
    for level in (chosen,) if other is None else (chosen, other):
        groups = yield from asked.groups(level, settings.calibration_instances, settings.calibration_replies, CALIBRATION_INDEX)
        solved, replies = _counts(groups)
        if settings.min_solve_rate < solved / replies < settings.max_solve_rate:
            break
    return groups


class _Asked:
    """Asks the solver for answers to instances, to none of them twice as far as there are more, and grades them."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._prompts: set[str] = set()
        self._next: dict[tuple[int, int], int] = {}
        self._repetitions = 0

    def groups(self, level: int, instances: int, replies: int, start: int, *, direct: bool = False) -> Asking[list[Group]]:
        """`replies` graded answers to each of up to `instances` instances of a level, drawn from index `start` on.

        Fewer where a level has fewer prompts. What has to be asked again is sampled by another seed: it would get the very
        replies it got before, and these would count twice. All else shares one, so that candidates are asked for together.
        """
        subject, settings = self._subject, self._subject.settings
        drawn = self._fresh(level, instances, start)
        seed = settings.seed
        if not self._prompts.isdisjoint(item.prompt for item in drawn):
            self._repetitions += 1
            seed += self._repetitions
        self._prompts.update(item.prompt for item in drawn)
        subject.rest()
        instruction = answer_instruction(subject.candidate.info, settings.extraction_rule)
        end = f"{DIRECT_INSTRUCTION} {instruction}" if direct else instruction
        prompts = tuple(f"{item.prompt}\n{end}" for item in drawn)
        tokens = settings.direct_tokens if direct else settings.reply_tokens
        said = yield Ask(prompts, replies, tokens, settings.reply_temperature, seed, settings.reply_stop)
        return [self._graded(item, found) for item, found in zip(drawn, said, strict=True)]

    def _fresh(self, level: int, count: int, start: int) -> list[Drawn]:
        """Instances with different prompts, those before all that were not asked yet."""
        fresh: dict[str, Drawn] = {}
        asked: dict[str, Drawn] = {}
        index = self._next.get((level, start), start)
        last = index + TRIES * count
        while len(fresh) < count and index < last:
            drawn = self._subject.candidate.draw(self._subject.context, index, level)
            (asked if drawn.prompt in self._prompts else fresh).setdefault(drawn.prompt, drawn)
            index += 1
        self._next[level, start] = index
        return [*fresh.values(), *asked.values()][:count]

    def _graded(self, drawn: Drawn, replies: Sequence[Reply]) -> Group:
        subject = self._subject
        rule = subject.settings.extraction_rule
        answers = [extract_answer(reply.text, subject.candidate.info.answer_type, rule) for reply in replies]
        given = list(dict.fromkeys(answer for answer in answers if answer is not None))
        grades: dict[str | None, bool] = {None: False}
        for answer, grade in zip(given, subject.candidate.grades(subject.context, drawn, given), strict=True):
            if isinstance(grade, Failure):
                raise refusal_of(grade, "verify", {**drawn.place(), "input": clip(answer)})
            grades[answer] = grade == 1.0
        solved = tuple(grades[answer] for answer in answers)
        return Group(drawn, tuple(answers), solved, sum(reply.truncated for reply in replies))


# --- what the replies say ---------------------------------------------------------------------------------------------


def _rates(groups: Sequence[Group], level: int) -> dict[str, Any]:
    solved, replies = _counts(groups)
    return {
        "level": level,
        "solved": solved,
        "replies": replies,
        "solve_rate": round(solved / replies, 4),
        "mixed_fraction": round(sum(0 < sum(group.solved) < len(group.solved) for group in groups) / len(groups), 4),
        "truncated_fraction": round(sum(group.truncated for group in groups) / replies, 4),
        "learnability": round(expected_learnability(solved, replies), 4),
    }


def _check_rates(subject: Subject, groups: Sequence[Group], measures: dict[str, Any]) -> None:
    settings, rate = subject.settings, measures["solve_rate"]
    evidence = {"level": measures["level"], "seeds": [group.drawn.seed for group in groups]}
    if measures["truncated_fraction"] >= settings.max_truncated_fraction:
        limit = f"less than {settings.max_truncated_fraction:.0%} of the replies cut off at {settings.reply_tokens} tokens"
        raise RefusalError("truncated", {**evidence, "expected": limit, "got": measures["truncated_fraction"]}, measures)
    if not settings.min_solve_rate < rate < settings.max_solve_rate:
        reason = "too_hard" if rate <= settings.min_solve_rate else "too_easy"
        raise RefusalError(reason, {**evidence, "expected": _wanted(subject), "got": rate}, measures)


def _check_plurality(subject: Subject, groups: Sequence[Group], measures: dict[str, Any]) -> None:
    """One wrong answer held by half of the replies, time and again: either the solver errs alike, or the reference does."""
    settings = subject.settings
    held: list[tuple[Group, str]] = []
    for group in groups:
        wrong = Counter(
            answer for answer, right in zip(group.answers, group.solved, strict=True) if answer is not None and not right
        )
        if wrong:
            answer, count = min(wrong.items(), key=lambda pair: (-pair[1], pair[0]))
            if count >= settings.plurality_reply_fraction * len(group.answers) and count > 1:
                held.append((group, answer))
    measures["plurality_wrong"] = f"{len(held)} of {len(groups)}"
    if len(held) < settings.plurality_instance_fraction * len(groups):
        return
    contradicted = [(group, answer) for group, answer in held if not _second_opinion_sides_with_us(subject, group, answer)]
    measures["plurality_unexplained"] = f"{len(contradicted)} of {len(groups)}"
    if len(contradicted) >= settings.plurality_instance_fraction * len(groups):
        group, answer = contradicted[0]
        evidence = {**group.drawn.place(), "input": clip(group.drawn.prompt), "expected": clip(group.drawn.reference)}
        others = [item.drawn.seed for item, _ in contradicted[1:]]
        found = {"got": clip(answer), "answers": [clip(text or "") for text in group.answers], "other_seeds": others}
        raise RefusalError("plurality_contradicts_reference", {**evidence, **found}, measures)


def _second_opinion_sides_with_us(subject: Subject, group: Group, answer: str) -> bool:
    """Whether the first second reference gives our answer, or the first second verifier refuses theirs and takes ours."""
    if not subject.opinions:
        return False
    opened = open_environment(subject.context.sandbox, subject.opinions[0])
    if isinstance(opened, Failure):
        return False
    drawn, info = group.drawn, subject.candidate.info
    with opened:
        if info.family is Family.COMPUTE:
            found = second_answer(opened, drawn.prompt)
            return not isinstance(found, Failure) and same_value(found, drawn.reference, info.answer_type)
        return second_grades(opened, drawn.prompt, [drawn.reference, answer]) == [1.0, 0.0]


# --- the parts of S5, S6 and S7 that need a solver --------------------------------------------------------------------


def _check_guesses(subject: Subject, level: int, measures: dict[str, Any]) -> None:
    """S5's cheap strategies at the calibrated level, unless S5 has judged by it or it is too low to be judged by."""
    if level >= LOWEST_LEVEL and level != middle_level(subject.candidate):
        attack(subject.candidate, subject.context, level, measures)


def _check_gap(subject: Subject, asked: _Asked, groups: Sequence[Group], measures: dict[str, Any]) -> Asking[None]:
    """Some levels up the oracle must be well ahead of the solver, and the solver no better than at the calibrated level."""
    settings = subject.settings
    level = min(measures["level"] + settings.gap_levels, subject.candidate.info.max_level)
    if level == measures["level"]:
        return
    above = yield from asked.groups(level, settings.calibration_instances, settings.calibration_replies, GAP_INDEX)
    solved, replies = _counts(above)
    measures |= {"gap_level": level, "gap_solved": f"{solved} of {replies}", "gap": round(1.0 - solved / replies, 4)}
    evidence = {"level": level, "seeds": [group.drawn.seed for group in above], "got": f"{solved} of {replies} solved"}
    # By instance: replies to one instance are alike, and counted singly they would make chance look like a rise.
    rises = permutation_tail([sum(group.solved) for group in above], [sum(group.solved) for group in groups])
    if rises < SIGNIFICANCE:
        expected = f"at most as often as at level {measures['level']}: {measures['solved']} of {measures['replies']}"
        raise RefusalError("easier_at_higher_level", {**evidence, "expected": expected, "p": round(rises, 5)}, measures)
    if wilson_lower_bound(solved, replies) > 1.0 - settings.min_gap:
        expected = f"the oracle ahead by {settings.min_gap:g} at level {level}"
        raise RefusalError("no_gap_to_the_oracle", {**evidence, "expected": expected}, measures)


def _check_direct(subject: Subject, asked: _Asked, level: int, measures: dict[str, Any]) -> Asking[None]:
    """Answers without reasoning, at the calibrated level: always recorded, refused where nearly all are right."""
    settings = subject.settings
    groups = yield from asked.groups(
        level, settings.calibration_instances, settings.calibration_replies, DIRECT_INDEX, direct=True
    )
    solved, replies = _counts(groups)
    measures["direct_solved"] = f"{solved} of {replies}"
    if wilson_lower_bound(solved, replies) >= settings.max_direct_fraction:
        expected = f"fewer than {settings.max_direct_fraction:.0%} right in {settings.direct_tokens} tokens"
        evidence = {"level": level, "seeds": [group.drawn.seed for group in groups], "expected": expected}
        raise RefusalError("answered_without_reasoning", {**evidence, "got": f"{solved} of {replies}"}, measures)


def _counts(groups: Sequence[Group]) -> tuple[int, int]:
    """(replies solved, replies)."""
    return sum(sum(group.solved) for group in groups), sum(len(group.solved) for group in groups)


def _wanted(subject: Subject) -> str:
    settings = subject.settings
    return f"a level with a solve rate in ({settings.min_solve_rate:g}, {settings.max_solve_rate:g})"
