"""What answers look like, inferred from earlier prompts and references: enough to search without knowing the problem.

An answer is a sequence of tokens (numbers or words; for one-token answers, characters). Inferred are where tokens come
from, how many there are, whether they differ and whether they rise. Left out: any relation between the tokens and the
problem, which would be solving it.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from env_synth.contract import AnswerType

MAX_VOCABULARY = 64
_NUMBER = re.compile(r"(?<![\w.])-?[0-9]+")
_TOKEN = re.compile(r"[^\s,;:()\[\]{}\"'`]+")


@dataclass(frozen=True)
class Grammar:
    """How answers are built. `from_prompt`: the tokens are numbers of the prompt; else they come from `vocabulary`.

    `length_place`: the place of the prompt's number that says how long the answer is; None: one of `lengths`.
    """

    joiner: str
    from_prompt: bool
    vocabulary: tuple[str, ...]
    lengths: tuple[int, ...]
    length_place: int | None
    distinct: bool
    rising: bool

    def answers(self, prompt: str, rng: random.Random, count: int) -> Iterator[str]:
        """Up to `count` answers to a prompt: all there are, if they are no more, else random ones."""
        tokens = list(dict.fromkeys(_NUMBER.findall(prompt))) if self.from_prompt else list(self.vocabulary)
        lengths = [self._said_length(prompt)] if self.length_place is not None else sorted(set(self.lengths))
        lengths = [length for length in lengths if 0 < length <= (len(tokens) if self.distinct else 200)]
        if not tokens or not lengths:
            return
        if sum(self._size(len(tokens), length) for length in lengths) <= count:
            for length in lengths:
                yield from (self.joiner.join(chosen) for chosen in self._all(tokens, length))
            return
        for _ in range(count):
            length = rng.choice(self.lengths) if self.length_place is None else lengths[0]
            if length in lengths:
                chosen = rng.sample(tokens, length) if self.distinct else rng.choices(tokens, k=length)
                yield self.joiner.join(sorted(chosen, key=_order) if self.rising else chosen)

    def _said_length(self, prompt: str) -> int:
        numbers = _NUMBER.findall(prompt)
        place = self.length_place or 0
        return int(numbers[place][:6]) if place < len(numbers) else 0

    def _size(self, tokens: int, length: int) -> float:
        if self.rising:
            return math.comb(tokens, length) if self.distinct else math.comb(tokens + length - 1, length)
        return math.perm(tokens, length) if self.distinct else float(tokens) ** min(length, 200)

    def _all(self, tokens: list[str], length: int) -> Iterator[Sequence[str]]:
        ordered = sorted(tokens, key=_order)
        if self.rising:
            return (itertools.combinations if self.distinct else itertools.combinations_with_replacement)(ordered, length)
        return itertools.permutations(ordered, length) if self.distinct else itertools.product(ordered, repeat=length)


def infer(earlier: Sequence[tuple[str, str]], answer_type: AnswerType) -> Grammar:
    """The grammar of (prompt, reference) pairs; at least one pair."""
    joiner = "" if answer_type is AnswerType.WORD else " "
    answers = [list(reference) if joiner == "" else _TOKEN.findall(reference) for _, reference in earlier]
    numbers = [set(_NUMBER.findall(prompt)) for prompt, _ in earlier]
    seen = Counter(token for answer in answers for token in answer)
    from_prompt = joiner == " " and all(set(answer) <= shown for answer, shown in zip(answers, numbers, strict=True))
    small_numbers = from_prompt and len(seen) <= 12 and not all(len(set(a)) == len(a) for a in answers)
    return Grammar(
        joiner=joiner,
        from_prompt=from_prompt and not small_numbers,
        vocabulary=tuple(sorted((token for token, _ in seen.most_common(MAX_VOCABULARY)), key=_order)),
        lengths=tuple(len(answer) for answer in answers),
        length_place=_length_place([prompt for prompt, _ in earlier], [len(answer) for answer in answers]),
        distinct=all(len(set(answer)) == len(answer) for answer in answers),
        rising=all(answer == sorted(answer, key=_order) for answer in answers),
    )


def _length_place(prompts: Sequence[str], lengths: Sequence[int]) -> int | None:
    """The place of a number of the prompt that always is the answer's length; None if there is none."""
    for place in range(8):
        said = [_NUMBER.findall(prompt)[place : place + 1] for prompt in prompts]
        if all(found and found[0] == str(length) for found, length in zip(said, lengths, strict=True)):
            return place
    return None


def _order(token: str) -> tuple[int, int, str]:
    return (0, int(token), "") if re.fullmatch(r"-?[0-9]{1,18}", token) else (1, 0, token)
