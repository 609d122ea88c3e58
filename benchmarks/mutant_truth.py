"""What is true of a mutant, found without the stages under test: equivalent to its parent, changed but sound, or defective.

The parent and an independent solver or checker written from the prompt alone (tests/env_synth/corpus/brute_force) are the
oracles. A mutant is equivalent if no observed call tells it from its parent; defective if a call fails, if the independent
solver contradicts its reference or its checker its verify, or if verify grades an answer otherwise than the
parent's does; else it is another environment that is sound as far as these calls show, and no stage owes a refusal.
Everything runs in the sandbox. Left out: spellings of the right answer, which a verify may take or leave.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from env_synth.admission import wrong_answers
from env_synth.contract import Failure, Family, declared_info
from env_synth.environment import Environment, open_environment
from env_synth.sandbox.host import Sandbox

TINY_LEVELS = (0, 1, 2)  # what the independent solver can do by brute force
TINY_SEEDS = 20
UPPER_SEEDS = 4
PERMUTATIONS = 12
OPINION_SEEDS = 8  # a level, as METHOD's second reference sees
EQUIVALENT, SOUND, DEFECTIVE = "equivalent", "changed_but_sound", "defective"

# An independent solver or checker as an environment of its own, so that the sandbox runs it.
_WRAPPER = """


class SecondOpinion:
    family = {family!r}
    answer_type = "text"
    answer_format = "text"
    max_level = 4

    def generate(self, rng, level):
        return {{}}, {{}}

    def render(self, public):
        return ""

    def reference(self, public, private):
        return {solve}(public["prompt"])

    def verify(self, public, answer, reference):
        return 1.0 if {check}(public["prompt"], answer) else 0.0
"""


@dataclass(frozen=True)
class Truth:
    """`kind`: equivalent, changed_but_sound or defective; `why`: the first fault that was seen, with its place."""

    kind: str
    why: str = ""


@dataclass(frozen=True)
class _Made:
    public: Any
    private: Any
    prompt: str
    reference: str


class Judge:
    """The oracles of one parent. A context manager; not for several threads at once."""

    def __init__(self, sandbox: Sandbox, source: str, independent: str) -> None:
        """`source`: the parent. `independent`: text with solve(prompt) for compute, check(prompt, answer) for certificate."""
        self.info = declared_info(source)
        compute = self.info.family is Family.COMPUTE
        wrapped = independent + _WRAPPER.format(
            family=self.info.family.value, solve="solve" if compute else "str", check="str" if compute else "check"
        )
        self.sandbox = sandbox
        self.parent, self.second = _opened(sandbox, source), _opened(sandbox, wrapped)
        self._made: dict[tuple[int, int], _Made | Failure] = {}

    def __enter__(self) -> Judge:
        """The judge itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends its workers."""
        self.parent.close()
        self.second.close()

    def truth(self, source: str) -> Truth:
        """Compares a mutant with its parent at some seventy places and asks the independent solver at the tiny ones."""
        opened = open_environment(self.sandbox, source)
        if isinstance(opened, Failure):
            return Truth(DEFECTIVE, f"load: {opened.detail}")
        changed = False
        with opened:
            for seed, level in self._places():
                found = self._compare(opened, seed, level)
                if isinstance(found, str):
                    return Truth(DEFECTIVE, f"level {level}, seed {seed}: {found}")
                changed = changed or found
        return Truth(SOUND if changed else EQUIVALENT)

    def opinion(self, source: str) -> float:
        """The share of tiny instances on which the independent solver or checker agrees, as METHOD's second reference does.

        It sees prompts alone and 8 instances at levels 0, 1 and 2. A failure of either side is a disagreement.
        """
        opened = open_environment(self.sandbox, source)
        if isinstance(opened, Failure):
            return 0.0
        agreed = []
        with opened:
            for level in TINY_LEVELS:
                for seed in range(OPINION_SEEDS):
                    made = _make(opened, seed + 1000, level)
                    agreed.append(not isinstance(made, Failure) and self._contradiction(opened, made) == "")
        return sum(agreed) / len(agreed)

    # ------------------------------------------------------------------------------------------ one place

    def _places(self) -> Iterator[tuple[int, int]]:
        top = self.info.max_level
        for level in sorted({*TINY_LEVELS, 3, 4, top // 2, top}):
            yield from ((seed, level) for seed in range(TINY_SEEDS if level in TINY_LEVELS else UPPER_SEEDS))

    def _parents(self, seed: int, level: int) -> _Made | Failure:
        if (seed, level) not in self._made:
            self._made[seed, level] = _make(self.parent, seed, level)
        return self._made[seed, level]

    def _compare(self, mutant: Environment, seed: int, level: int) -> bool | str:
        """True if anything differs, the fault as text if there is one."""
        before, after = self._parents(seed, level), _make(mutant, seed, level)
        if isinstance(before, Failure):
            return False
        if isinstance(after, Failure):
            return f"fails: {after.detail}"
        if level in TINY_LEVELS and before != after:
            fault = self._contradiction(mutant, after)
            if fault:
                return fault
        same_problem = (before.public, before.prompt) == (after.public, after.prompt)
        compute = self.info.family is Family.COMPUTE
        if compute and same_problem and not self._same(after.reference, before.reference):
            return f"reference {after.reference!r}, parent's {before.reference!r}"
        if self._grade(mutant, after.public, after.reference, after.reference) != 1.0:
            return f"verify rejects the reference {after.reference!r}"
        return self._compare_grades(mutant, before, after) or before != after

    def _compare_grades(self, mutant: Environment, before: _Made, after: _Made) -> str:
        """The first answer that the mutant's verify grades otherwise than its parent's, on the parent's instance."""
        public = before.public if before.public == after.public else after.public
        reference = before.reference if before.public == after.public else after.reference
        answers = self._answers(reference, before.prompt)
        ours, theirs = (
            environment.verify_cases([(public, answer, reference) for answer in answers])
            for environment in (mutant, self.parent)
        )
        for answer, mine, expected in zip(answers, ours, theirs, strict=True):
            if mine == expected or isinstance(expected, Failure):
                continue
            spelled = answer != reference and self._same(answer, reference)
            if not spelled and (isinstance(mine, Failure) or mine == 1.0 or _is_plain(answer)):
                return (
                    f"verify gives {_plain(mine)} to {answer[:80]!r}, parent's {_plain(expected)}; reference {reference[:80]!r}"
                )
        return ""

    def _contradiction(self, mutant: Environment, made: _Made) -> str:
        """What the independent solver or checker, shown the prompt alone, has against the instance; empty if nothing."""
        public = {"prompt": made.prompt}
        if self.info.family is Family.COMPUTE:
            answer = self.second.reference(public, {})
            if isinstance(answer, Failure):
                return f"prompt cannot be read: {answer.detail}"
            if self._grade(mutant, made.public, answer, made.reference) != 1.0:
                return f"independent solver says {answer[:80]!r}, reference {made.reference[:80]!r}"
            return ""
        answers = [made.reference, *filter(_is_plain, self._answers(made.reference, made.prompt))]
        ours = mutant.verify_cases([(made.public, answer, None) for answer in answers])
        theirs = self.second.verify_cases([(public, answer, None) for answer in answers])
        for answer, mine, expected in zip(answers, ours, theirs, strict=True):
            if mine != expected:
                return f"verify gives {_plain(mine)} to {answer[:80]!r}, independent checker {_plain(expected)}"
        return ""

    def _answers(self, reference: str, problem: str) -> list[str]:
        rng = random.Random(f"truth/{reference}")
        tokens = reference.split()
        found = [reference, *wrong_answers.mutations(reference, rng, 24), *wrong_answers.extended(reference)]
        found += wrong_answers.lists_around(reference, "7", self.info.answer_type)
        found += [*wrong_answers.CONSTANTS, *(text for text in wrong_answers.JUNK if len(text) < 40), ""]
        for _ in range(PERMUTATIONS):
            swapped = wrong_answers.swapped(reference, rng)
            found += [" ".join(rng.sample(tokens, len(tokens))), " ".join(tokens[:-1])] + ([swapped] if swapped else [])
        found += [" ".join([*tokens, token]) for token in tokens[:3]]
        numbers = re.findall(r"[0-9]+", problem)[:8]
        found += [text for number in numbers for text in (number, f"1 {number}", f"{number} 1")]
        return list(dict.fromkeys(found))

    def _same(self, left: str, right: str) -> bool:
        return wrong_answers.same_value(left, right, self.info.answer_type)

    def _grade(self, environment: Environment, public: Any, answer: str, reference: str) -> float | Failure:
        return environment.verify_case(public, answer, reference)


def _opened(sandbox: Sandbox, source: str) -> Environment:
    opened = open_environment(sandbox, source)
    assert not isinstance(opened, Failure), opened
    return opened


def _make(environment: Environment, seed: int, level: int) -> _Made | Failure:
    made = environment.generate(seed, level)
    if isinstance(made, Failure):
        return made
    prompt = environment.render(made[0])
    if isinstance(prompt, Failure):
        return prompt
    reference = environment.reference(*made)
    return reference if isinstance(reference, Failure) else _Made(*made, prompt, reference)


def _plain(grade: float | Failure) -> str:
    return f"failure ({grade.detail})" if isinstance(grade, Failure) else f"{grade:g}"


def _is_plain(answer: str) -> bool:
    """True of tokens parted by single spaces: a spelling that no verify may refuse for its looks."""
    return answer != "" and " ".join(answer.split()) == answer


def kinds(truths: Sequence[Truth]) -> dict[str, int]:
    """How many of each kind."""
    return {kind: sum(truth.kind == kind for truth in truths) for kind in (EQUIVALENT, SOUND, DEFECTIVE)}
