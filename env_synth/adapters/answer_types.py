"""Which answer type a foreign environment has, told from references drawn in the sandbox: other systems do not declare one."""

from __future__ import annotations

import re
from collections.abc import Iterable

from env_synth.contract import AnswerType, Failure
from env_synth.environment import open_environment
from env_synth.sandbox.host import Sandbox

SAMPLED_SEEDS = 12  # of each sampled level
SAMPLED_LEVELS = 5
SAMPLING_CPU_S = 4.0  # no further level after so much
_SHAPES = (
    (AnswerType.INT, re.compile(r"[+-]?[0-9]+")),
    (AnswerType.INTS, re.compile(r"[+-]?[0-9]+([\s,]+[+-]?[0-9]+)*")),
    (AnswerType.WORD, re.compile(r"\S+")),
)


def sampled_references(sandbox: Sandbox, source: str) -> list[str] | Failure:
    """References of instances at levels spread over all; a Failure if the source can't be loaded.

    An instance that fails ends its level: where and why is for admission to say.
    """
    opened = open_environment(sandbox, source)
    if isinstance(opened, Failure):
        return opened
    references = []
    with opened:
        top = opened.info.max_level
        for level in sorted({round(place * top / (SAMPLED_LEVELS - 1)) for place in range(SAMPLED_LEVELS)}):
            if opened.cpu_s > SAMPLING_CPU_S:
                break
            for seed in range(SAMPLED_SEEDS):
                made = opened.generate(seed, level)
                reference = made if isinstance(made, Failure) else opened.reference(*made)
                if isinstance(reference, Failure):
                    break
                references.append(reference)
    return references


def answer_type_of(references: Iterable[str]) -> AnswerType:
    """The narrowest type that all references have; text where there are none."""
    kept = list(references)
    for answer_type, shape in _SHAPES:
        if kept and all(shape.fullmatch(reference) for reference in kept):
            return answer_type
    return AnswerType.TEXT
