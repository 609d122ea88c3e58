"""Tests of evo_jax/rollouts/batches.py."""

import dataclasses

import numpy as np
import pytest

from evo_jax.records import Prompt, PromptBatch, Role
from evo_jax.rollouts.batches import request_seed, to_requests, to_rollout_batch
from evo_jax.rollouts.protocol import Completion, RolloutError, SamplingParams


def prompts(count=2, group_size=2):
    return PromptBatch(
        tuple(Prompt(Role.SOLVER, f"p{i}", (1, 2 + i), "env", f"instance{i}", 0) for i in range(count)), group_size
    )


def completion(tokens, reason="stop", version=5):
    logprobs = -np.arange(1, len(tokens) + 1, dtype=np.float32)
    return Completion(
        np.array(tokens, np.int32), logprobs, "".join(map(str, tokens)), reason, np.full(len(tokens), version, np.int32)
    )


def test_rows_follow_the_groups_and_are_padded_to_a_bucket():
    groups = [[completion([7, 8, 9]), completion([4], "length")], [completion([]), completion([5, 6])]]
    batch = to_rollout_batch(prompts(), groups, length_bucket_tokens=4, pad_token_id=2)
    assert batch.tokens.tolist() == [[7, 8, 9, 2], [4, 2, 2, 2], [2, 2, 2, 2], [5, 6, 2, 2]]
    assert batch.rollout_logprobs.tolist() == [[-1, -2, -3, 0], [-1, 0, 0, 0], [0, 0, 0, 0], [-1, -2, 0, 0]]
    assert batch.lengths.tolist() == [3, 1, 0, 2]
    assert batch.truncated.tolist() == [False, True, False, False]
    assert batch.policy_versions.tolist() == [[5, 5, 5, 0], [5, 0, 0, 0], [0, 0, 0, 0], [5, 5, 0, 0]]
    assert batch.texts == ("789", "4", "", "56")
    assert batch.prompt_of(2).instance_id == "instance1"


def test_missing_completions_are_refused():
    with pytest.raises(RolloutError, match=r"2 prompts x 2 completions were expected, groups of \[2, 1\]"):
        to_rollout_batch(prompts(), [[completion([1])] * 2, [completion([1])]])


def test_a_completion_of_several_versions_keeps_each_token_s_own_and_an_unfinished_one_is_no_rollout():
    spanning = dataclasses.replace(completion([7, 8, 9]), policy_versions=np.array([3, 3, 4], np.int32))
    batch = to_rollout_batch(prompts(1), [[spanning, completion([1])]], length_bucket_tokens=4)
    assert batch.policy_versions.tolist() == [[3, 3, 4, 0], [5, 0, 0, 0]]
    assert batch.oldest_versions.tolist() == [3, 5]
    with pytest.raises(RolloutError, match="1 of 2 completions were stopped"):
        to_rollout_batch(prompts(1), [[spanning, completion([1], "abort")]])


def test_requests_get_seeds_of_their_own_that_are_hashed():
    first = to_requests(prompts(3), SamplingParams(4), "run", 0)
    second = to_requests(prompts(3), SamplingParams(4), "run", 1)
    assert len({request.seed for request in first + second}) == 6
    assert first == to_requests(prompts(3), SamplingParams(4), "run", 0)
    assert [request.prompt_tokens for request in first] == [(1, 2), (1, 3), (1, 4)]
    assert request_seed(1, 23) != request_seed(12, 3)
    assert 0 <= request_seed("x") < 2**31
