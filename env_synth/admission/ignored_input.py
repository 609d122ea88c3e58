"""Part of S3: what the prompt states in numbers, and nothing ever uses.

A capacity that `verify` forgets, a row of sums that it never adds up, a rule's parameter that `reference` skips: the value
under one key of `public` is exchanged for another instance's, the prompt changes, and the outcome never does. Sizes and
other redundant values are let off, and so are texts, which name things. Left out: values that are used but wrongly (S8).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from env_synth.admission.candidate import Candidate, Context, Drawn, RefusalError, clip
from env_synth.admission.leaves import leaves
from env_synth.admission.redundant import is_size_everywhere
from env_synth.contract import Failure, Family

NEAR_A_SIZE = 3  # nodes without an edge: the largest that is named lies a little below their number


def check(candidate: Candidate, context: Context, drawn: Sequence[Drawn]) -> int:
    """The keys that were exchanged. Raises RefusalError for one that the prompt shows and no outcome depends on."""
    keys = [key for key in _keys(drawn) if not is_size_everywhere(drawn, key, NEAR_A_SIZE)]
    for key in keys:
        example = _ignored(candidate, context, drawn, key)
        if example is not None:
            raise RefusalError("ignored_input", example)
    return len(keys)


def _keys(drawn: Sequence[Drawn]) -> list[str]:
    """Keys of the instances that hold numbers; a flag or a word may be a name."""
    first = drawn[0].public
    if not isinstance(first, dict) or len(first) < 2:
        return []
    return [key for key, value in first.items() if any(type(leaf) in (int, float) for _, leaf in leaves(value))]


def _ignored(candidate: Candidate, context: Context, drawn: Sequence[Drawn], key: str) -> dict[str, Any] | None:
    """The last of the exchanges under `key` if none of them mattered and there were enough of them; else None."""
    environment = candidate.environment(context)
    for shown, (item, value) in enumerate(_exchanges(drawn, key), 1):
        public = {**item.public, key: value}
        prompt = environment.render(public)
        if isinstance(prompt, Failure) or prompt == item.prompt:
            return None  # hidden, which is another matter, or bound to the rest of the instance
        if _outcome_changes(candidate, context, item, public):
            return None
        if shown == context.config.ignored_input_exchanges:
            changed = {"key": key, "expected": "an outcome that depends on what the prompt states"}
            return {**item.place(), **changed, "input": clip(value), "got": f"the same in {shown} exchanges"}
    return None


def _exchanges(drawn: Sequence[Drawn], key: str) -> Iterator[tuple[Drawn, Any]]:
    for item, other in zip(drawn, [*drawn[1:], drawn[0]], strict=True):
        if isinstance(item.public, dict) and isinstance(other.public, dict) and key in item.public and key in other.public:
            value = other.public[key]
            if value != item.public[key] and type(value) is type(item.public[key]):
                yield item, value


def _outcome_changes(candidate: Candidate, context: Context, item: Drawn, public: Any) -> bool:
    environment = candidate.environment(context)
    if candidate.info.family is Family.COMPUTE:
        changed = environment.reference(public, item.private)
        if isinstance(changed, Failure):
            candidate.forgiven_cpu_s += environment.last_cpu_s  # on input that the source never made
        return changed != item.reference
    return candidate.grades(context, item, [item.reference], public) != [1.0]
