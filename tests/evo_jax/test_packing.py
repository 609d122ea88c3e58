"""Tests of evo_jax/packing.py."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo_jax.advantages import compute_advantages
from evo_jax.config import LearnerConfig, ObjectiveConfig
from evo_jax.packing import PackingError, micro_batch_rows, pack, packed_fraction
from evo_jax.records import Role

PLAIN = ObjectiveConfig()
SMALL = LearnerConfig(row_tokens=16, rows_per_micro_batch=2)


def advantages(make_scored, *args, config=PLAIN, **kwargs):
    return compute_advantages(make_scored(*args, **kwargs), config)


def test_one_group_by_hand(make_scored):
    batch = advantages(make_scored, [[1, 0]], lengths=[[3, 2]], prompt_lengths=[4])
    (packed,) = pack([batch], SMALL, PLAIN)
    rollouts = batch.scored.rollouts
    prompt, first, second = rollouts.prompts[0].token_ids, rollouts.tokens[0], rollouts.tokens[1]
    assert packed.tokens.shape == (2, 16)  # the second row is empty: rows come in micro-batches of 2
    # The last token of a completion is a target only.
    assert packed.tokens[0, :8].tolist() == [*prompt, first[0], first[1], second[0], 0]
    assert packed.positions[0, :8].tolist() == [0, 1, 2, 3, 4, 5, 4, 0]
    assert packed.group_ids[0, :8].tolist() == [1, 1, 1, 1, 1, 1, 1, 0]
    assert packed.completion_ids[0, :8].tolist() == [0, 0, 0, 0, 1, 1, 2, 0]
    assert packed.sources[0, :6].tolist() == [3, 4, 5, 3, 6, 0]
    assert packed.targets[0, :6].tolist() == [*first[:3], *second[:2], 0]
    assert packed.loss_weights[0, :6].tolist() == [1, 1, 1, 1, 1, 0]
    assert packed.advantages[0, :6].tolist() == [0.5, 0.5, 0.5, -0.5, -0.5, 0]
    np.testing.assert_array_equal(packed.rollout_logprobs[0, :3], rollouts.rollout_logprobs[0, :3])
    np.testing.assert_array_equal(packed.rollout_logprobs[0, 3:5], rollouts.rollout_logprobs[1, :2])
    assert packed.role_denominators.tolist() == [5, 0]
    assert not packed.loss_weights[1].any()
    assert packed_fraction((packed,)) == (7, 32)


@pytest.mark.parametrize(
    ("config", "weights", "denominator"),
    [
        (PLAIN, [1, 1, 1, 1], 4),  # sum over tokens / (3 + 1) tokens
        (ObjectiveConfig(aggregation="sequence_mean"), [1 / 3, 1 / 3, 1 / 3, 1], 2),  # mean over 2 completions of token means
        (ObjectiveConfig(aggregation="constant_length", constant_length_tokens=8), [0.125] * 4, 2),  # sum / 8, mean over 2
    ],
)
def test_aggregations_by_hand(make_scored, config, weights, denominator):
    batch = advantages(make_scored, [[1, 0]], lengths=[[3, 1]], config=config)
    (packed,) = pack([batch], SMALL, config)
    np.testing.assert_allclose(packed.loss_weights[0, :4], weights)
    assert packed.role_denominators.tolist() == [denominator, 0]


def test_zero_advantages_are_skipped_but_counted(make_scored):
    # 0.5 is the mean of its group: no gradient without KL or entropy, but its 3 tokens stay in the mean.
    batch = advantages(make_scored, [[1, 0.5, 0]])
    (packed,) = pack([batch], SMALL, PLAIN)
    assert (packed.loss_weights > 0).sum() == 6
    assert packed.role_denominators.tolist() == [9, 0]
    for config in (
        ObjectiveConfig(kl_estimator="k3", kl_weight=0.1),
        ObjectiveConfig(entropy_floor=1.0, entropy_weight=0.1),
    ):
        (whole,) = pack([batch], SMALL, config)
        assert (whole.loss_weights > 0).sum() == 9


def test_nothing_to_train_on_packs_to_nothing(make_scored):
    assert pack([advantages(make_scored, [[1, 1, 1]])], SMALL, PLAIN) == ()
    assert pack([], SMALL, PLAIN) == ()


def test_roles_share_rows_and_keep_their_denominators(make_scored):
    solver = advantages(make_scored, [[1, 0]], lengths=[[2, 2]])
    proposer = advantages(make_scored, [[1, 0]], lengths=[[3, 3]], role=Role.PROPOSER)
    (packed,) = pack([solver, proposer], LearnerConfig(row_tokens=32, rows_per_micro_batch=1), PLAIN)
    assert packed.tokens.shape == (1, 32)
    filled = packed.loss_weights[0] > 0
    assert Counter(packed.roles[0][filled].tolist()) == {0: 4, 1: 6}
    assert packed.role_denominators.tolist() == [4, 6]


def test_a_group_too_long_for_a_row_is_split_with_its_prompt_repeated(make_scored):
    # 6 + 4 * (6 - 1) = 26 tokens do not fit 16: two parts of 6 + 2 * 5 = 16.
    batch = advantages(make_scored, [[1, 0, 1, 0]], lengths=[[6] * 4], prompt_lengths=[6])
    (packed,) = pack([batch], SMALL, PLAIN)
    assert (packed.group_ids > 0).sum(axis=1).tolist() == [16, 16]
    prompt = list(batch.scored.rollouts.prompts[0].token_ids)
    assert packed.tokens[:, :6].tolist() == [prompt, prompt]
    assert (packed.loss_weights > 0).sum() == 24


def test_without_shared_prompts_each_completion_has_its_own(make_scored):
    batch = advantages(make_scored, [[1, 0]], lengths=[[3, 2]], prompt_lengths=[4])
    (packed,) = pack([batch], SMALL, PLAIN, share_prompts=False)
    rollouts = batch.scored.rollouts
    prompt, first, second = rollouts.prompts[0].token_ids, rollouts.tokens[0], rollouts.tokens[1]
    assert packed.tokens[0, :12].tolist() == [*prompt, *first[:2], *prompt, second[0], 0]
    assert packed.positions[0, :12].tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 0]
    assert packed.group_ids[0, :12].tolist() == [1] * 6 + [2] * 5 + [0]
    assert packed.completion_ids[0, :12].tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0]
    assert packed.sources[0, :6].tolist() == [3, 4, 5, 9, 10, 0]
    assert packed.targets[0, :6].tolist() == [*first[:3], *second[:2], 0]
    assert packed.role_denominators.tolist() == [5, 0]


def test_longer_members_get_rows_of_the_next_power_of_two(make_scored):
    # 4 + 40 - 1 = 43 tokens: 16 -> 32 -> 64. The short members of that group stay in rows of 16.
    batch = advantages(make_scored, [[1, 0, 0]], lengths=[[40, 3, 3]])
    short, long = pack([batch], SMALL, PLAIN)
    assert (short.tokens.shape, long.tokens.shape) == ((2, 16), (1, 64))
    assert (long.loss_weights > 0).sum() == 40
    assert short.role_denominators.tolist() == long.role_denominators.tolist() == [46, 0]


def test_longer_rows_come_in_smaller_micro_batches():
    learner = LearnerConfig(row_tokens=512, rows_per_micro_batch=4)
    assert [micro_batch_rows(learner, tokens) for tokens in (512, 1024, 2048, 8192)] == [4, 2, 1, 1]


def test_many_one_token_completions_never_overflow_the_slots(make_scored):
    rewards = [[float(i % 2) for i in range(40)]]
    packed = pack([advantages(make_scored, rewards, lengths=[[1] * 40], prompt_lengths=[2])], SMALL, PLAIN)
    assert sum(int((b.loss_weights > 0).sum()) for b in packed) == 40


def test_a_prompt_without_tokens_is_refused(make_scored):
    with pytest.raises(PackingError, match="instance-1"):
        pack([advantages(make_scored, [[1, 0], [1, 0]], prompt_lengths=[3, 0])], SMALL, PLAIN)


@st.composite
def batches(draw):
    group_size = draw(st.integers(2, 5))
    prompts = draw(st.integers(1, 6))
    lengths = draw(
        st.lists(st.lists(st.integers(0, 30), min_size=group_size, max_size=group_size), min_size=prompts, max_size=prompts)
    )
    rewards = draw(
        st.lists(
            st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=group_size, max_size=group_size),
            min_size=prompts,
            max_size=prompts,
        )
    )
    prompt_lengths = draw(st.lists(st.integers(1, 20), min_size=prompts, max_size=prompts))
    pairs = st.tuples(st.integers(0, prompts - 1), st.integers(0, group_size - 1))
    return {
        "rewards": rewards,
        "lengths": lengths,
        "prompt_lengths": prompt_lengths,
        "invalid": draw(st.lists(pairs, max_size=3)),
        "role": draw(st.sampled_from(list(Role))),
        "seed": draw(st.integers(0, 99)),
    }


@settings(max_examples=60, deadline=None)
@given(st.lists(batches(), min_size=1, max_size=2), st.integers(1, 3), st.sampled_from(["token_mean", "sequence_mean"]))
def test_every_trained_token_is_a_target_exactly_once(make_scored, drawn, rows_per_micro_batch, aggregation):
    config = ObjectiveConfig(aggregation=aggregation, filter_zero_variance=False)
    learner = LearnerConfig(row_tokens=16, rows_per_micro_batch=rows_per_micro_batch)
    inputs = [advantages(make_scored, config=config, **kwargs) for kwargs in drawn]
    expected: Counter = Counter()
    for batch in inputs:
        rollouts = batch.scored.rollouts
        for b in np.flatnonzero(batch.kept & (batch.advantages != 0)):
            prompt, length = rollouts.prompt_of(int(b)), int(rollouts.lengths[b])
            weight = np.float32(1.0 / length if length and aggregation == "sequence_mean" else 1.0)
            for i in range(length):
                context = (*prompt.token_ids, *rollouts.tokens[b, :i].tolist())
                token, logprob = int(rollouts.tokens[b, i]), float(rollouts.rollout_logprobs[b, i])
                expected[context, token, logprob, float(batch.advantages[b]), float(weight), prompt.role.position] += 1
    found: Counter = Counter()
    for packed in pack(inputs, learner, config):
        assert packed.tokens.shape[0] % micro_batch_rows(learner, packed.tokens.shape[1]) == 0
        for r, n in zip(*np.nonzero(packed.loss_weights), strict=True):
            source = packed.sources[r, n]
            # What the source may attend to, as records.TrainBatch words it; positions must count it up from 0.
            before = np.arange(packed.tokens.shape[1]) <= source
            same_group = packed.group_ids[r] == packed.group_ids[r, source]
            completion = packed.completion_ids[r]
            seen = before & same_group & ((completion == 0) | (completion == completion[source]))
            assert packed.positions[r][seen].tolist() == list(range(seen.sum()))
            key = (
                tuple(packed.tokens[r][seen].tolist()),
                int(packed.targets[r, n]),
                float(packed.rollout_logprobs[r, n]),
                float(packed.advantages[r, n]),
                float(packed.loss_weights[r, n]),
                int(packed.roles[r, n]),
            )
            found[key] += 1
        filled = packed.loss_weights > 0
        assert (np.diff(filled.astype(int), axis=1) <= 0).all()  # targets stand at the front of the slots
    assert found == expected
