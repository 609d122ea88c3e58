"""S3: many different instances, and nothing that decides the answer kept from the prompt.

Distinct prompts and references are counted over fresh draws at several levels. Then the hidden input is looked for: the same
prompt with two references; a leaf of `public` whose exchange changes the answer but not the prompt; a key of a certificate's
`public` that the prompt does not show and `verify` needs. A hidden value that the shown ones determine (a length, a maximum,
a copy of what is printed) is redundant, not hidden. Last, the opposite: what is shown and never used (`ignored_input`).
Left out: how hard the instances are (S6).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import batched, islice, pairwise
from typing import Any

from env_synth.admission import ignored_input
from env_synth.admission.candidate import Candidate, Context, Drawn, RefusalError, clip, stage
from env_synth.admission.leaves import Path, leaves, pattern, replaced
from env_synth.admission.levels import sampled_levels
from env_synth.admission.redundant import is_printed_everywhere, is_size_everywhere
from env_synth.contract import Failure, FailureClass, Family

LOW_LEVELS = (0, 1)
SWAP_PAIRS = 8
SWAPS_A_PAIR = 12
HIDDEN_LEAVES_TO_REFUSE = 3
KEY_INSTANCES = 3
TOP_INSTANCES = 3  # a long instance may be cut short where a small one is shown whole; three, because a leaf needs three


def check_levels(max_level: int) -> list[int]:
    """The levels whose spread is counted: the low ones, 2, and the middle one, where the attackers draw as well."""
    return sorted({0, 1, 2, max(2, max_level // 2)})


@stage("S3")
def check(candidate: Candidate, context: Context) -> dict[str, Any]:
    """Refuses repeated prompts or references, an ambiguous prompt, and hidden input."""
    measures: dict[str, Any] = {}
    for level in check_levels(candidate.info.max_level):
        drawn = [candidate.draw(context, seed, level) for seed in range(context.config.diverse_instances)]
        _check_ambiguous(candidate, drawn)
        measures |= _check_spread(context, drawn, level)
    _check_upper_levels(candidate, context)
    for level, count in ((2, context.config.diverse_instances), (candidate.info.max_level, TOP_INSTANCES)):
        hidden = _HiddenInput(candidate, context, [candidate.draw(context, seed, level) for seed in range(count)])
        if candidate.info.family is Family.CERTIFICATE:
            hidden.check_unused_keys()
        measures[f"hidden_leaves_level_{level}"] = hidden.check_swaps()
    level = max(2, candidate.info.max_level // 2)
    drawn = [candidate.draw(context, seed, level) for seed in range(context.config.diverse_instances)]
    measures["exchanged_keys"] = ignored_input.check(candidate, context, drawn)
    return measures


# --- spread ----------------------------------------------------------------------------------------------------------


def _check_spread(context: Context, drawn: Sequence[Drawn], level: int) -> dict[str, Any]:
    config = context.config
    prompts, references = {item.prompt for item in drawn}, {item.reference for item in drawn}
    low = level in LOW_LEVELS
    wanted = config.min_distinct_prompt_fraction_low_level if low else config.min_distinct_prompt_fraction
    if len(prompts) < wanted * len(drawn):
        raise RefusalError("repeated_prompts", _spread_evidence(drawn, level, f"{wanted:.0%} distinct prompts", len(prompts)))
    if not low and len(references) < min(config.min_distinct_references, len(drawn)):
        expected = f"{config.min_distinct_references} distinct references"
        raise RefusalError("repeated_references", _spread_evidence(drawn, level, expected, len(references)))
    return {f"distinct_prompts_level_{level}": len(prompts), f"distinct_references_level_{level}": len(references)}


def _spread_evidence(drawn: Sequence[Drawn], level: int, expected: str, count: int) -> dict[str, Any]:
    return {"level": level, "seeds": len(drawn), "expected": f"{expected} of {len(drawn)}", "got": f"{count} distinct"}


def _check_ambiguous(candidate: Candidate, drawn: Sequence[Drawn]) -> None:
    """compute: one prompt has one answer, so two references under one prompt show an input that it does not."""
    if candidate.info.family is not Family.COMPUTE:
        return
    seen: dict[str, Drawn] = {}
    for item in drawn:
        first = seen.setdefault(item.prompt, item)
        if first.reference != item.reference:
            evidence = {**item.place(), "other_seed": first.seed, "input": clip(item.prompt)}
            raise RefusalError("ambiguous_prompt", {**evidence, "expected": first.reference, "got": item.reference})


def _check_upper_levels(candidate: Candidate, context: Context) -> None:
    """Draws instances of the levels that nothing else draws often: as many on every machine.

    A crash that one seed in ten meets, or a prompt with two answers, may wait at any of them. What they cost counts against
    the candidate's CPU seconds as every call does, so that a source past those is refused as too slow, not looked at less.
    """
    counted = check_levels(candidate.info.max_level)
    levels = [level for level in sampled_levels(candidate.info.max_level) if level not in counted]
    seeds = range(context.config.upper_level_instances)
    _check_ambiguous(candidate, [candidate.draw(context, seed, level) for seed in seeds for level in levels])


# --- hidden input ----------------------------------------------------------------------------------------------------


class _HiddenInput:
    """Looks for values of `public` that decide the answer and that the prompt does not show."""

    def __init__(self, candidate: Candidate, context: Context, drawn: Sequence[Drawn]) -> None:
        self.candidate, self.context, self.drawn = candidate, context, drawn
        self.environment = candidate.environment(context)
        self.gave_up = False
        self.compute = candidate.info.family is Family.COMPUTE

    def check_swaps(self) -> int:
        """How many leaves were seen to decide the answer unseen. Raises RefusalError from three on."""
        found: list[dict[str, Any]] = []
        few = len(self.drawn) < 2 * HIDDEN_LEAVES_TO_REFUSE  # then each is the first of a pair
        pairs = [*pairwise(self.drawn), (self.drawn[-1], self.drawn[0])] if few else batched(self.drawn, 2)
        for first, second in islice(pairs, SWAP_PAIRS):
            for path, value in self._swappable(first, second):
                evidence = self._swap(first, second, path, value)
                if evidence is not None:
                    found.append(evidence)
                if evidence is not None or self.gave_up:
                    break  # one leaf a pair: three leaves are three instances
            if self.gave_up:
                break
            self.candidate.check_budget(self.context)
            if len(found) >= HIDDEN_LEAVES_TO_REFUSE:
                raise RefusalError("hidden_input", {**found[0], "others": found[1:]})
        return len(found)

    def check_unused_keys(self) -> None:
        """A certificate's prompt shows all that `verify` needs: keys it leaves out may be left out."""
        for key in self._top_keys():
            changed = 0
            for item in self.drawn[:KEY_INSTANCES]:
                public = {name: value for name, value in item.public.items() if name != key}
                if self.environment.render(public) != item.prompt or is_size_everywhere(self.drawn, key):
                    break
                before = self.candidate.grades(self.context, item, [item.reference])
                after = self.candidate.grades(self.context, item, [item.reference], public)
                changed += before != after
            if changed == KEY_INSTANCES:
                evidence = {**item.place(), "input": key, "expected": "verify as before without a key that render ignores"}
                raise RefusalError("hidden_constraint", {**evidence, "got": "verify changed"})

    def _top_keys(self) -> list[str]:
        first = self.drawn[0].public
        return [key for key in first if isinstance(first, dict)] if isinstance(first, dict) else []

    def _swappable(self, first: Drawn, second: Drawn) -> list[tuple[Path, Any]]:
        """Leaves of `first` that differ in `second`, spread over the patterns, with the other's value."""
        others = dict(leaves(second.public))
        by_pattern: dict[str, list[tuple[Path, Any]]] = {}
        for path, value in leaves(first.public):
            other = others.get(path)
            if path and other != value and type(other) is type(value) and value is not None:
                by_pattern.setdefault(pattern(path), []).append((path, other))
        rng = random.Random(f"{self.candidate.environment_id}/{first.seed}")  # a prompt may show only the first ones
        for places in by_pattern.values():
            rng.shuffle(places)
        chosen: list[tuple[Path, Any]] = []
        while by_pattern and len(chosen) < SWAPS_A_PAIR:
            for name in list(by_pattern):
                chosen.append(by_pattern[name].pop(0))
                if not by_pattern[name]:
                    del by_pattern[name]
        return chosen[:SWAPS_A_PAIR]

    def _swap(self, first: Drawn, second: Drawn, path: Path, value: Any) -> dict[str, Any] | None:
        public = replaced(first.public, path, value)
        shown = self._tried(self.environment.render(public))
        if shown != first.prompt:
            return None  # shown, or not an instance any more
        if self.compute:
            after: Any = self._tried(self.environment.reference(public, first.private))
            before: Any = first.reference
        else:
            before, after = (
                self.candidate.grades(self.context, first, [first.reference, second.reference], tried)
                for tried in (first.public, public)
            )
        if after == before or isinstance(after, Failure) or self._redundant(path, first):
            return None
        place = {**first.place(), "other_seed": second.seed, "input": pattern(path), "value": clip(value)}
        return {**place, "expected": clip(before), "got": clip(after)}

    def _tried(self, result: Any) -> Any:
        """A result on input that the source never made: its time is not held against it; one endless call is enough."""
        if isinstance(result, Failure) and (result.failure_class is FailureClass.TIMEOUT or result.failure_class.is_host_fault):
            self.candidate.forgiven_cpu_s += self.environment.last_cpu_s
            self.gave_up = True
        return result

    def _redundant(self, path: Path, item: Drawn) -> bool:
        """True where the rest of the instance determines the hidden value: a size, an extreme, or a copy of what is shown."""
        top = path[0]
        if not isinstance(item.public, dict):
            return False
        value = item.public[top]
        if isinstance(value, int) and not isinstance(value, bool):
            return is_size_everywhere(self.drawn, str(top))
        inner = [leaf for _, leaf in leaves(value)]
        if not isinstance(value, list | dict) or len(inner) < 2:
            return False
        return is_printed_everywhere(self.drawn[:16], str(top))
