"""S5: strategies that cost nothing and see only prompts and earlier references. None may be right too often.

Every strategy is a family of cheap guesses; its best member is chosen on some instances and tested on others, and the
environment is refused if the Wilson lower bound of its success passes the limit. Guesses are graded by `verify`, so that a
certificate that many answers satisfy is found out too. S9 asks again at the level it has chosen. Left out: searches that call
`verify` (S7).
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from env_synth.admission.candidate import Candidate, Context, Drawn, RefusalError, clip, stage
from env_synth.admission.statistics import wilson_lower_bound
from env_synth.contract import AnswerType

type Guesser = Callable[[Drawn], str]

LOWEST_LEVEL = 2  # below, where S3 too asks for little variety, nine or all ten of the seeds are guessed too often
POSITIONS = 12  # from each end of the prompt
COMMON_ANSWERS = 8
CONSTANTS = ("0", "1", "-1", "2", "yes", "no", "0 1", "1 2")
_NUMBER = re.compile(r"(?<![\w.])-?[0-9]+")
_WORD = re.compile(r"[^\s,;:()\[\]{}\"'`]+")
_TOKEN = re.compile(r"[0-9]+|[A-Za-z]+|[^\sA-Za-z0-9]")


@stage("S5")
def check(candidate: Candidate, context: Context) -> dict[str, Any]:
    """Refuses an environment that a cheap strategy solves at the middle level; level 2 is measured and kept."""
    measures: dict[str, Any] = {}
    attack(candidate, context, middle_level(candidate), measures)
    if middle_level(candidate) != LOWEST_LEVEL:
        attack(candidate, context, LOWEST_LEVEL, measures, refuses=False)
    return measures


def middle_level(candidate: Candidate) -> int:
    """The level that S5 judges by, before anybody knows which one will be trained on."""
    return max(LOWEST_LEVEL, candidate.info.max_level // 2)


def attack(candidate: Candidate, context: Context, level: int, measures: dict[str, Any], *, refuses: bool = True) -> None:
    """Puts into `measures` how often each strategy is right at a level. Raises RefusalError where it `refuses` such a rate."""
    count = context.config.attacker_instances
    drawn = [candidate.draw(context, seed, level) for seed in range(2 * count)]
    chosen_on, tested_on = drawn[:count], drawn[count:]
    for name, members in strategies(chosen_on, candidate.info.answer_type).items():
        best, guesser = _best(candidate, context, members, chosen_on)
        right = _successes(candidate, context, guesser, tested_on)
        bound = wilson_lower_bound(len(right), len(tested_on))
        measures[f"{name}_level_{level}"] = f"{len(right)} of {len(tested_on)}"
        if refuses and bound > context.config.max_attacker_success:
            shown = right[0]
            evidence = {**shown.place(), "strategy": best, "input": clip(shown.prompt), "got": clip(guesser(shown))}
            limit = f"Wilson lower bound of at most {context.config.max_attacker_success:g}"
            found = {"right": len(right), "tested": len(tested_on), "bound": round(bound, 4), "expected": limit}
            raise RefusalError(f"guessable_by_{name}", {**evidence, **found}, measures)


def strategies(earlier: Sequence[Drawn], answer_type: AnswerType) -> dict[str, dict[str, Guesser]]:
    """Strategy -> member -> guesser. `earlier`: the instances whose references the strategies may know."""
    counted = Counter(item.reference for item in earlier)
    common = [reference for reference, _ in sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))[:COMMON_ANSWERS]]
    rng_references = sorted(counted)
    return {
        "constant": {f"always {clip(text)}": _constant(text) for text in dict.fromkeys((*common, *CONSTANTS))},
        "nearest": {"answer of the nearest earlier prompt": _Nearest(earlier)},
        "copying": _copying(earlier, answer_type),
        "random": {
            "an earlier answer at random": lambda item: _rng(item).choice(rng_references),
            "a random value of the type": lambda item: _random_answer(item, answer_type),
        },
    }


def _best(
    candidate: Candidate, context: Context, members: dict[str, Guesser], chosen_on: Sequence[Drawn]
) -> tuple[str, Guesser]:
    """The member that does best on the instances to choose on; the first of equals."""
    if len(members) == 1:
        return next(iter(members.items()))
    rights = {name: len(_successes(candidate, context, guesser, chosen_on)) for name, guesser in members.items()}
    best = max(rights, key=lambda name: rights[name])
    return best, members[best]


def _successes(candidate: Candidate, context: Context, guesser: Guesser, drawn: Sequence[Drawn]) -> list[Drawn]:
    """The instances whose guess `verify` accepts."""
    environment = candidate.environment(context)
    cases = [(item.public, guesser(item), item.reference) for item in drawn]
    grades = environment.verify_cases(cases)
    candidate.check_budget(context)
    return [item for item, grade in zip(drawn, grades, strict=True) if grade == 1.0]


# --- the strategies --------------------------------------------------------------------------------------------------


def _constant(text: str) -> Guesser:
    return lambda item: text


class _Nearest:
    """The reference of the earlier prompt that shares most tokens; an instance never finds itself."""

    def __init__(self, earlier: Sequence[Drawn]) -> None:
        self._earlier = earlier
        self._having: dict[str, list[tuple[int, int]]] = {}  # token -> (place of the earlier prompt, how often it has it)
        for place, item in enumerate(earlier):
            for token, count in Counter(_found(_TOKEN, item.prompt)).items():
                self._having.setdefault(token, []).append((place, count))
        for token, having in list(self._having.items()):
            if len(having) == len(earlier) and len({count for _, count in having}) == 1:
                del self._having[token]  # the same in all, so that it ranks none before another

    def __call__(self, item: Drawn) -> str:
        shared = [0] * len(self._earlier)
        for token, own in Counter(_found(_TOKEN, item.prompt)).items():
            for place, count in self._having.get(token, ()):
                shared[place] += min(own, count)
        others = (place for place, other in enumerate(self._earlier) if other is not item)
        return self._earlier[max(others, key=lambda place: shared[place])].reference


def _copying(earlier: Sequence[Drawn], answer_type: AnswerType) -> dict[str, Guesser]:
    if answer_type is AnswerType.INT:
        return _positions(_NUMBER) | {
            f"the number of rank {place}": _ranked(place) for place in (0, 1, 2, -1, -2, -3)
        } | {"the middle number": lambda item: _pick(sorted(_numbers(item)), len(_numbers(item)) // 2)}  # fmt: skip
    if answer_type is AnswerType.INTS:
        lines = {f"the numbers of line {place}": _line_numbers(place) for place in (*range(6), *range(-6, 0))}
        order = {
            f"{words} of line {place}": _line_numbers(place, change)
            for place in (0, 1, 2, -1, -2, -3)
            for words, change in (("sorted numbers", sorted), ("reversed numbers", _backwards), ("falling numbers", _falling))
        }
        size = Counter(len(_NUMBER.findall(item.reference)) for item in earlier).most_common(1)[0][0]
        windows = {
            f"{size} numbers from number {place}": _window(place, size) for place in (*range(6), *range(-size - 5, -size + 1))
        }
        return lines | order | windows | {"all numbers": lambda item: " ".join(map(str, _numbers(item)))}
    if answer_type is AnswerType.WORD:
        return _positions(_WORD)
    return _positions(_WORD) | {f"line {place}": _line(place) for place in (*range(6), *range(-6, 0))}


def _positions(token: re.Pattern[str]) -> dict[str, Guesser]:
    places = (*range(POSITIONS), *range(-POSITIONS, 0))
    return {f"token {place} of the prompt": _token(token, place) for place in places}


def _token(token: re.Pattern[str], place: int) -> Guesser:
    return lambda item: _pick(_found(token, item.prompt), place)


def _ranked(place: int) -> Guesser:
    return lambda item: _pick(sorted(_numbers(item)), place)


def _line(place: int) -> Guesser:
    return lambda item: _pick(_lines(item), place)


def _line_numbers(place: int, change: Callable[[list[int]], list[int]] = list) -> Guesser:
    def guess(item: Drawn) -> str:
        rows = _number_rows(item.prompt)
        return " ".join(map(str, change(list(rows[place])))) if -len(rows) <= place < len(rows) else ""

    return guess


def _window(place: int, size: int) -> Guesser:
    def guess(item: Drawn) -> str:
        numbers = _numbers(item)
        start = place if place >= 0 else len(numbers) + place
        return " ".join(map(str, numbers[max(0, start) : max(0, start) + size]))

    return guess


def _backwards(numbers: list[int]) -> list[int]:
    return numbers[::-1]


def _falling(numbers: list[int]) -> list[int]:
    return sorted(numbers, reverse=True)


def _lines(item: Drawn) -> list[str]:
    return [line.strip() for line in item.prompt.splitlines() if line.strip()]


def _numbers(item: Drawn) -> list[int]:
    return [int(text) for text in _found(_NUMBER, item.prompt) if len(text) <= 400]


@lru_cache(maxsize=1024)  # the members of a strategy read the same prompts, one after the other
def _found(pattern: re.Pattern[str], prompt: str) -> tuple[str, ...]:
    return tuple(pattern.findall(prompt))


@lru_cache(maxsize=1024)
def _number_rows(prompt: str) -> tuple[tuple[int, ...], ...]:
    """The numbers of each line that has any."""
    rows = (tuple(int(text) for text in _NUMBER.findall(line)) for line in prompt.splitlines())
    return tuple(row for row in rows if row)


def _pick(values: Sequence[object], place: int) -> str:
    return str(values[place]) if -len(values) <= place < len(values) else ""


def _random_answer(item: Drawn, answer_type: AnswerType) -> str:
    rng, numbers = _rng(item), _numbers(item) or [0, 10]
    if answer_type is AnswerType.INT:
        return str(rng.randint(min(numbers), max(numbers)))
    if answer_type is AnswerType.INTS:
        rows = [row for row in (_NUMBER.findall(line) for line in _lines(item)) if row] or [["0"]]
        row = rng.choice(rows)
        return " ".join(rng.sample(row, len(row)))
    return rng.choice(_found(_WORD, item.prompt) or ("a",))


def _rng(item: Drawn) -> random.Random:
    return random.Random(f"attacker/{item.seed}/{item.level}")
