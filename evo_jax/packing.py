"""Packed rows for the update: every prompt once, followed by the completions of its group that are trained on.

A row of T tokens holds several groups (first fit, longest first). Compared with one completion a row this computes a prompt
once instead of `group_size` times and pads almost nothing. Members with nothing to teach are cut out here. Left out: the
attention mask (`policy.attention.packed_attend`), devices, and splitting a completion, which would change its context.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from evo_jax.config import LearnerConfig, ObjectiveConfig
from evo_jax.records import AdvantageBatch, Role, TrainBatch


class PackingError(Exception):
    """Rollouts that cannot be packed; the message names the prompt."""


@dataclass(frozen=True)
class _Item:
    """One prompt with some completions of its group; `members` are rollout numbers of batch number `batch`."""

    batch: int
    prompt: int
    members: tuple[int, ...]
    tokens: int
    targets: int


def pack(
    batches: Sequence[AdvantageBatch], learner: LearnerConfig, objective: ObjectiveConfig, *, share_prompts: bool = True
) -> tuple[TrainBatch, ...]:
    """TrainBatches of growing row length: `row_tokens`, then twice that, and so on for what does not fit.

    The last token of a completion is only ever a target, so it takes no room in a row. Kept members whose advantage is
    exactly 0 are left out where the gradient is the same without them (no KL, no entropy bonus); they still count in
    `role_denominators`. Without `share_prompts` every completion has a copy of its prompt to itself, for an attention that
    knows only whole sequences. Returns () when there is nothing to train on. Raises PackingError for a prompt without tokens.
    """
    by_length: dict[int, list[_Item]] = {}
    for number, batch in enumerate(batches):
        for prompt, members in _trained_members(batch, objective):
            if not batch.scored.rollouts.prompts[prompt].token_ids:
                name = batch.scored.rollouts.prompts[prompt].instance_id
                raise PackingError(f"prompt {prompt} ({name}) has no tokens: nothing predicts its first completion token")
            for together in [members] if share_prompts else [[member] for member in members]:
                for row_tokens, item in _items(batch, number, prompt, together, learner.row_tokens):
                    by_length.setdefault(row_tokens, []).append(item)
    denominators = _role_denominators(batches, objective)
    packed = []
    for row_tokens, items in sorted(by_length.items()):
        sizes = [(item.tokens, item.targets) for item in items]
        rows = [[items[i] for i in row] for row in _first_fit_decreasing(sizes, (row_tokens, row_tokens))]
        multiple = micro_batch_rows(learner, row_tokens)
        empty = -len(rows) % multiple
        packed.append(_fill(batches, rows + [[] for _ in range(empty)], row_tokens, objective, denominators))
    return tuple(packed)


def micro_batch_rows(learner: LearnerConfig, row_tokens: int) -> int:
    """Rows of one micro-batch: fewer where rows are longer, so that its tokens, and its memory, stay the same."""
    return max(1, learner.rows_per_micro_batch * learner.row_tokens // row_tokens)


def packed_fraction(batches: Sequence[TrainBatch]) -> tuple[float, float]:
    """(tokens that are not padding, all tokens) of the packed rows."""
    return float(sum((b.group_ids > 0).sum() for b in batches)), float(sum(b.group_ids.size for b in batches))


def _trained_members(batch: AdvantageBatch, objective: ObjectiveConfig) -> Iterator[tuple[int, list[int]]]:
    """(prompt, its rollouts to be trained on) for every prompt that has one."""
    rollouts = batch.scored.rollouts
    trained = batch.kept & (rollouts.lengths > 0)
    if objective.kl_weight == 0.0 and objective.entropy_weight == 0.0:
        trained &= batch.advantages != 0.0
    for prompt in range(len(rollouts.prompts)):
        first = prompt * rollouts.group_size
        members = [int(b) for b in first + np.flatnonzero(trained[first : first + rollouts.group_size])]
        if members:
            yield prompt, members


def _items(batch: AdvantageBatch, number: int, prompt: int, members: list[int], row_tokens: int) -> Iterator[tuple[int, _Item]]:
    """(row length, item): members by the shortest row they fit in, then as many together as that row takes."""
    rollouts = batch.scored.rollouts
    prompt_tokens = len(rollouts.prompts[prompt].token_ids)
    waiting: dict[int, list[int]] = {}
    for member in members:
        capacity = row_tokens
        while prompt_tokens + int(rollouts.lengths[member]) - 1 > capacity:
            capacity *= 2
        waiting.setdefault(capacity, []).append(member)
    for capacity, group in waiting.items():
        sizes = [(int(rollouts.lengths[member]) - 1, int(rollouts.lengths[member])) for member in group]
        for part in _first_fit_decreasing(sizes, (capacity - prompt_tokens, capacity)):
            tokens = prompt_tokens + sum(sizes[i][0] for i in part)
            targets = sum(sizes[i][1] for i in part)
            yield capacity, _Item(number, prompt, tuple(sorted(group[i] for i in part)), tokens, targets)


def _first_fit_decreasing(sizes: Sequence[tuple[int, int]], room: tuple[int, int]) -> list[list[int]]:
    """Numbers of the sizes (tokens, targets) that share a bin of `room`; ties keep their order, so the result is fixed.

    Targets are bounded too: a completion of one token takes a target slot but no room in the row.
    """
    bins: list[list[int]] = []
    left: list[tuple[int, int]] = []
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i][0]):
        tokens, targets = sizes[i]
        fitting = (b for b, free in enumerate(left) if tokens <= free[0] and targets <= free[1])
        found = next(fitting, len(bins))
        if found == len(bins):
            bins.append([])
            left.append(room)
        bins[found].append(i)
        left[found] = (left[found][0] - tokens, left[found][1] - targets)
    return bins


def _fill(
    batches: Sequence[AdvantageBatch],
    rows: list[list[_Item]],
    row_tokens: int,
    objective: ObjectiveConfig,
    denominators: np.ndarray,
) -> TrainBatch:
    shape = (len(rows), row_tokens)
    names = ("tokens", "positions", "group_ids", "completion_ids", "sources", "targets", "roles")
    ints = {name: np.zeros(shape, np.int32) for name in names}
    floats = {name: np.zeros(shape, np.float32) for name in ("loss_weights", "advantages", "rollout_logprobs")}
    for r, items in enumerate(rows):
        start, slot = 0, 0
        for group, item in enumerate(items, start=1):
            batch = batches[item.batch]
            rollouts = batch.scored.rollouts
            prompt = rollouts.prompts[item.prompt]
            end = start + len(prompt.token_ids)
            ints["tokens"][r, start:end] = prompt.token_ids
            ints["positions"][r, start:end] = np.arange(end - start)
            ints["group_ids"][r, start : start + item.tokens] = group
            prompt_last, start = end - 1, end
            for completion, member in enumerate(item.members, start=1):
                length = int(rollouts.lengths[member])
                end = start + length - 1
                ints["tokens"][r, start:end] = rollouts.tokens[member, : length - 1]
                ints["positions"][r, start:end] = len(prompt.token_ids) + np.arange(length - 1)
                ints["completion_ids"][r, start:end] = completion
                slots = slice(slot, slot + length)
                ints["sources"][r, slots] = np.concatenate([[prompt_last], np.arange(start, end)])
                ints["targets"][r, slots] = rollouts.tokens[member, :length]
                ints["roles"][r, slots] = prompt.role.position
                floats["loss_weights"][r, slots] = _token_weight(length, objective)
                floats["advantages"][r, slots] = batch.advantages[member]
                floats["rollout_logprobs"][r, slots] = rollouts.rollout_logprobs[member, :length]
                start, slot = end, slot + length
    return TrainBatch(**ints, **floats, role_denominators=denominators)


def _token_weight(length: int, objective: ObjectiveConfig) -> float:
    """Weight of each token of a completion in the per-role sum; with `_role_denominators` it makes the aggregation."""
    if objective.aggregation == "sequence_mean":
        return 1.0 / length
    return 1.0 / objective.constant_length_tokens if objective.aggregation == "constant_length" else 1.0


def _role_denominators(batches: Sequence[AdvantageBatch], objective: ObjectiveConfig) -> np.ndarray:
    """Per role, over kept members, zero advantages included: tokens for a token mean, else completions."""
    counts = np.zeros(len(Role), np.float32)
    for batch in batches:
        rollouts = batch.scored.rollouts
        amounts = rollouts.lengths if objective.aggregation == "token_mean" else np.ones_like(rollouts.lengths)
        for prompt, amount in enumerate((amounts * batch.kept).reshape(-1, rollouts.group_size).sum(axis=1)):
            counts[rollouts.prompts[prompt].role.position] += amount
    return counts
