"""S1: does it run? Every call at several seeds and levels, within its limits, with results of the right shape.

Left out: whether the results are the same twice (S2), differ enough (S3) or are right (S4 and on).
"""

from __future__ import annotations

import re
from typing import Any

from env_synth.admission.candidate import Candidate, Context, Drawn, RefusalError, clip, stage
from env_synth.contract import MAX_ANSWER_CHARACTERS, AnswerType

_SHAPES = {
    AnswerType.INT: (re.compile(r"[+-]?[0-9]+"), "one integer"),
    AnswerType.INTS: (re.compile(r"[+-]?[0-9]+([\s,]+[+-]?[0-9]+)*"), "integers parted by spaces or commas"),
    AnswerType.WORD: (re.compile(r"\S+"), "one token"),
    AnswerType.TEXT: (re.compile(r"\S(.*\S)?", re.DOTALL), "text"),
}


def draw_plan(context: Context, max_level: int) -> list[tuple[int, int]]:
    """(seed, level) of the instances S1 draws, cheap levels first."""
    config = context.config
    plan = [(seed, level) for level in config.execute_levels if level <= max_level for seed in range(config.execute_seeds)]
    return plan + [(seed, max_level) for seed in range(config.execute_top_seeds) if (seed, max_level) not in plan]


@stage("S1")
def check(candidate: Candidate, context: Context) -> dict[str, Any]:
    """Refuses a source that cannot be loaded or run, is too slow, or gives prompts or references of the wrong shape."""
    loaded = candidate.environment(context).info
    if loaded != candidate.info:
        evidence = {"expected": str(candidate.info), "got": str(loaded), "call": "load"}
        raise RefusalError("declaration_changes", evidence)
    prompts = []
    for seed, level in draw_plan(context, candidate.info.max_level):
        drawn = candidate.draw(context, seed, level)
        _check_prompt(drawn, context)
        _check_reference(drawn, candidate.info.answer_type)
        prompts.append(len(drawn.prompt))
    return {"instances": len(prompts), "shortest_prompt": min(prompts), "longest_prompt": max(prompts)}


def _check_prompt(drawn: Drawn, context: Context) -> None:
    low, high = context.config.min_prompt_characters, context.config.max_prompt_characters
    size = len(drawn.prompt)
    evidence = {**drawn.place(), "call": "render", "expected": f"{low} to {high} characters", "got": f"{size} characters"}
    if size < low:
        raise RefusalError("prompt_too_short", evidence)
    if size > high:
        raise RefusalError("prompt_too_long", evidence)


def _check_reference(drawn: Drawn, answer_type: AnswerType) -> None:
    shape, expected = _SHAPES[answer_type]
    evidence = {**drawn.place(), "call": "reference", "got": clip(drawn.reference)}
    if len(drawn.reference) > MAX_ANSWER_CHARACTERS:
        raise RefusalError("reference_too_long", {**evidence, "expected": f"at most {MAX_ANSWER_CHARACTERS} characters"})
    if not shape.fullmatch(drawn.reference):
        raise RefusalError("reference_type", {**evidence, "expected": expected})
