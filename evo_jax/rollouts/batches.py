"""Between the ring's records and the engine's: PromptBatch -> requests, completions -> RolloutBatch.

Left out: sampling itself, and any judgement of what was sampled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from evo_jax.records import PromptBatch, RolloutBatch
from evo_jax.rollouts.protocol import Completion, RolloutError, RolloutRequest, SamplingParams


def request_seed(*parts: int | str) -> int:
    """A seed in [0, 2^31) hashed from what names a request (run seed, step, role, position...), never by adding."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def to_requests(prompts: PromptBatch, sampling: SamplingParams, *seed_parts: int | str) -> list[RolloutRequest]:
    """One request a prompt. `seed_parts` (such as run seed and step) with role and place in the batch fix its seed."""
    return [
        RolloutRequest(
            request_id=f"{prompt.role}/{place}/{prompt.instance_id}",
            prompt_tokens=prompt.token_ids,
            group_size=prompts.group_size,
            seed=request_seed(*seed_parts, prompt.role, place),
            sampling=sampling,
        )
        for place, prompt in enumerate(prompts.prompts)
    ]


def to_rollout_batch(
    prompts: PromptBatch,
    completions: Sequence[Sequence[Completion]],
    *,
    length_bucket_tokens: int = 8,
    pad_token_id: int = 0,
) -> RolloutBatch:
    """The completions of `prompts`, padded with `pad_token_id` to a multiple of `length_bucket_tokens`.

    Raises RolloutError when groups are missing or incomplete, so that no rollout is ever paired with another's prompt, and for
    completions that were stopped before their end.
    """
    if len(completions) != len(prompts.prompts) or any(len(group) != prompts.group_size for group in completions):
        sizes = [len(group) for group in completions]
        raise RolloutError(
            f"{len(prompts.prompts)} prompts x {prompts.group_size} completions were expected, groups of {sizes} came back"
        )
    flat = [completion for group in completions for completion in group]
    unfinished = sum(completion.finish_reason == "abort" for completion in flat)
    if unfinished:
        raise RolloutError(f"{unfinished} of {len(flat)} completions were stopped before their end: they are no rollouts yet")
    lengths = np.array([len(completion.tokens) for completion in flat], np.int32)
    width = -(-max(1, int(lengths.max(initial=1))) // length_bucket_tokens) * length_bucket_tokens
    tokens = np.full((len(flat), width), pad_token_id, np.int32)
    logprobs = np.zeros((len(flat), width), np.float32)
    versions = np.zeros((len(flat), width), np.int32)
    for row, completion in enumerate(flat):
        tokens[row, : lengths[row]] = completion.tokens
        logprobs[row, : lengths[row]] = completion.logprobs
        versions[row, : lengths[row]] = completion.policy_versions
    return RolloutBatch(
        prompts=prompts.prompts,
        group_size=prompts.group_size,
        texts=tuple(completion.text for completion in flat),
        tokens=tokens,
        lengths=lengths,
        rollout_logprobs=logprobs,
        truncated=np.array([completion.finish_reason == "length" for completion in flat], np.bool_),
        policy_versions=versions,
    )
