"""Tests of evo_jax/learner.py."""

import dataclasses
from collections.abc import Callable
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from evo_jax.advantages import compute_advantages
from evo_jax.checkpoint import Checkpoint, CheckpointStore
from evo_jax.config import (
    Config,
    ConfigError,
    EvolveConfig,
    LearnerConfig,
    LoraConfig,
    ObjectiveConfig,
    OptimizerConfig,
    PolicyConfig,
    RolloutConfig,
)
from evo_jax.learner import Learner, NonFiniteError, TrainState
from evo_jax.metrics import reduce_metrics
from evo_jax.packing import pack
from evo_jax.policy.attention import causal_attend
from evo_jax.policy.decoder import Decoder, random_decoder
from evo_jax.policy.errors import PolicyError
from evo_jax.policy.model_config import ModelConfig
from evo_jax.policy.packed_attention import visible_keys, worth_gathering
from evo_jax.records import AdvantageBatch, Role, TrainBatch

TINY = ModelConfig(
    "qwen3", vocab_size=17, num_layers=1, width=16, ffn_width=24, num_heads=4, num_kv_heads=2, head_size=4, qk_norm=True
)
# Adam's first step is -lr * g / (|g| + eps): with a huge eps the parameters move by -lr / eps times the gradient.
PLAIN_DESCENT = OptimizerConfig(learning_rate=1e5, adam_eps=1e6, max_grad_norm=1e9)
RATE = 0.1


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return random_decoder(TINY, jax.random.key(0))


@pytest.fixture(scope="module")
def rollouts(make_scored) -> Callable[..., list[AdvantageBatch]]:
    """A solver batch of five groups, the second of zero variance, and a proposer batch of one."""
    rng = np.random.default_rng(3)
    rewards = [[1, 0, 0], [1, 1, 1], [0, 1, 0.5], [0, 1, 0], [1, 1, 0]]

    def make(objective: ObjectiveConfig) -> list[AdvantageBatch]:
        lengths, prompts = rng_lengths, [5, 3, 9, 4, 7]
        solver = make_scored(rewards, lengths=lengths, prompt_lengths=prompts, seed=1)
        proposer = make_scored([[0.2, 0.9]], lengths=[[20, 11]], prompt_lengths=[6], role=Role.PROPOSER, seed=2)
        return [compute_advantages(scored, objective) for scored in (solver, proposer)]

    rng_lengths = rng.integers(1, 9, (5, 3)).tolist()
    return make


def config_of(objective: ObjectiveConfig | None = None, optimizer: OptimizerConfig = PLAIN_DESCENT, **sections) -> Config:
    defaults = {"learner": LearnerConfig(row_tokens=32, rows_per_micro_batch=1), "rollout": RolloutConfig(temperature=0.7)}
    return Config(objective=objective or ObjectiveConfig(), optimizer=optimizer, **(defaults | sections))


_learners: dict[str, Learner] = {}


def learner_for(config: Config, decoder: Decoder) -> Learner:
    """One learner per config and structure, so that the tests share compiled programs."""
    structure = nnx.split(decoder)[0]
    return _learners.setdefault(f"{config}{structure}", Learner(config, decoder))


def run(
    config: Config, decoder: Decoder, batches: list[AdvantageBatch], *, packing: ObjectiveConfig | None = None, **options
) -> tuple[TrainState, dict]:
    """One update from the decoder's weights. What `packing` sets beyond the config's objective is not compiled in."""
    learner = learner_for(config, decoder)
    packed = pack(batches, config.learner, packing or config.objective)
    return learner.update(learner.init(nnx.state(decoder)), packed, **options)


def leaves(params: nnx.State) -> dict[str, np.ndarray]:
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree_util.tree_flatten_with_path(params)[0]}


def assert_same_parameters(a: nnx.State, b: nnx.State, **tolerance) -> None:
    for (name, x), y in zip(leaves(a).items(), leaves(b).values(), strict=True):
        np.testing.assert_allclose(x, y, err_msg=name, **tolerance)


def row_by_row_logprobs(decoder: Decoder, batch: AdvantageBatch, rollout: int, temperature: float) -> np.ndarray:
    """The unpacked computation: one prompt, one completion, whole logits."""
    rollouts, length = batch.scored.rollouts, int(batch.scored.rollouts.lengths[rollout])
    prompt = rollouts.prompt_of(rollout).token_ids
    tokens = np.zeros((1, 40), np.int32)  # what follows cannot be seen
    tokens[0, : len(prompt) + length] = [*prompt, *rollouts.tokens[rollout, :length]]
    logprobs = np.asarray(whole_logprobs(decoder, tokens, temperature))
    return logprobs[np.arange(length) + len(prompt) - 1, tokens[0, len(prompt) : len(prompt) + length]]


@nnx.jit
def whole_logprobs(decoder: Decoder, tokens: jax.Array, temperature: float) -> jax.Array:
    hidden = decoder(tokens, jnp.arange(tokens.shape[1])[None], causal_attend)
    return jax.nn.log_softmax(decoder.logits(hidden)[0] / temperature)


@pytest.mark.parametrize("row_tokens", [16, 192])
def test_packed_logprobs_equal_those_of_one_completion_at_a_time(rollouts, row_tokens):
    decoder = random_decoder(dataclasses.replace(TINY, num_layers=2), jax.random.key(0))
    config = config_of(
        learner=LearnerConfig(row_tokens=row_tokens, rows_per_micro_batch=2), evolve=EvolveConfig(proposal_temperature=1.3)
    )
    batches = rollouts(config.objective)
    learner = learner_for(config, decoder)
    found, expected = [], []
    packed_batches = pack(batches, config.learner, config.objective)
    gathers = [worth_gathering(visible_keys(b.group_ids, b.completion_ids), b.tokens.shape[1]) for b in packed_batches]
    assert any(gathers) == (row_tokens == 192)  # both kinds of attention are met
    for packed in packed_batches:
        logprobs = learner.token_logprobs(nnx.state(decoder), packed)
        assert logprobs.shape == packed.targets.shape
        assert not logprobs[packed.loss_weights == 0].any()
        found += zip(packed.rollout_logprobs[packed.loss_weights > 0], logprobs[packed.loss_weights > 0], strict=True)
    for batch in batches:
        for b in np.flatnonzero(batch.kept & (batch.advantages != 0)):
            length = int(batch.scored.rollouts.lengths[b])
            temperature = 0.7 if batch.scored.rollouts.prompt_of(int(b)).role is Role.SOLVER else 1.3
            logprobs = row_by_row_logprobs(decoder, batch, int(b), temperature)
            expected += zip(batch.scored.rollouts.rollout_logprobs[b, :length], logprobs, strict=True)
    # The random rollout log-probs name the tokens.
    np.testing.assert_allclose(np.asarray(sorted(found)), np.asarray(sorted(expected)), atol=1e-5)


EVERYTHING = ObjectiveConfig(
    aggregation="sequence_mean",
    advantage_scaling="group_std",
    filter_zero_variance=False,
    entropy_floor=10.0,
    entropy_weight=1.0,
)


@pytest.mark.parametrize("compiled", [ObjectiveConfig(), pytest.param(EVERYTHING, marks=pytest.mark.slow)])
@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean", "constant_length"])
def test_micro_batches_change_nothing(decoder, rollouts, compiled, aggregation):
    constant = 20 if aggregation == "constant_length" else 0
    packing = dataclasses.replace(compiled, aggregation=aggregation, constant_length_tokens=constant)
    outcomes = []
    for rows in (1, 8):  # row by row, or everything at once
        config = config_of(compiled, learner=LearnerConfig(row_tokens=32, rows_per_micro_batch=rows))
        outcomes.append(run(config, decoder, rollouts(packing), packing=packing))
    (many, many_metrics), (one, one_metrics) = outcomes
    assert_same_parameters(many.params, one.params, atol=1e-6)
    one_reduced, many_reduced = reduce_metrics([one_metrics]), reduce_metrics([many_metrics])
    assert one_reduced.keys() == many_reduced.keys()
    for name, value in one_reduced.items():
        assert many_reduced[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name


def numpy_loss(logprobs: list[np.ndarray], packed: tuple[TrainBatch, ...], proximal: list[np.ndarray], cap: float) -> float:
    """The default objective inside the clip bounds, written out once more without sharing any code."""
    total = 0.0
    for now, before, batch in zip(logprobs, proximal, packed, strict=True):
        correction = np.minimum(np.exp(before - batch.rollout_logprobs), cap)
        terms = -batch.loss_weights * batch.advantages * correction * np.exp(now.astype(np.float64) - before)
        for role, scale in ((0, 1.0), (1, 0.3)):
            total += scale * terms[batch.roles == role].sum() / batch.role_denominators[role]
    return total


def test_gradient_against_finite_differences(decoder, rollouts):
    config = config_of()
    batches = rollouts(config.objective)
    packed = pack(batches, config.learner, config.objective)
    learner = learner_for(config, decoder)
    params = nnx.state(decoder)
    moved, metrics = learner.update(learner.init(params), packed)
    gradient = jax.tree.map(lambda before, after: (before - after) / RATE, params, moved.params)
    proximal = [learner.token_logprobs(params, batch) for batch in packed]
    assert metrics["loss"][0] == pytest.approx(numpy_loss(proximal, packed, proximal, 2.0), rel=1e-5)
    norm = np.sqrt(sum(float((x.astype(np.float64) ** 2).sum()) for x in leaves(gradient).values()))
    assert metrics["grad_norm"][0] == pytest.approx(norm, rel=1e-4)
    step = 2e-3
    for seed in range(4):
        rng = np.random.default_rng(seed)
        ahead, behind, expected = {}, {}, 0.0
        for (name, value), slope in zip(leaves(params).items(), leaves(gradient).values(), strict=True):
            direction = rng.normal(0, 0.1, value.shape).astype(np.float32)
            ahead[name], behind[name] = value + step * direction, value - step * direction
            expected += float((slope * direction).sum())
        ends = []
        for moved_leaves in (ahead, behind):
            shifted = jax.tree.unflatten(jax.tree.structure(params), list(map(jnp.asarray, moved_leaves.values())))
            ends.append(numpy_loss([learner.token_logprobs(shifted, b) for b in packed], packed, proximal, 2.0))
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(expected, rel=2e-2, abs=2e-4)


def test_skipping_zero_advantages_leaves_the_gradient_identical(decoder, rollouts):
    skipping = ObjectiveConfig(filter_zero_variance=False)
    # With an entropy bonus every kept member is packed; the bonus itself is not in the compiled objective here.
    whole = dataclasses.replace(skipping, entropy_floor=1.0, entropy_weight=1.0)
    kept, kept_metrics = run(config_of(), decoder, rollouts(whole), packing=whole)
    cut, cut_metrics = run(config_of(), decoder, rollouts(skipping), packing=skipping)
    assert kept_metrics["trained_tokens"] > cut_metrics["trained_tokens"]
    assert kept_metrics["loss"] == pytest.approx(cut_metrics["loss"])
    assert_same_parameters(kept.params, cut.params, atol=1e-6)


def test_one_program_per_row_length(decoder, rollouts):
    config = config_of(learner=LearnerConfig(row_tokens=16, rows_per_micro_batch=2))
    packed = pack(rollouts(config.objective), config.learner, config.objective)
    assert len(packed) == 2  # the proposer's longest completion needs a row of 32
    learner = learner_for(config, decoder)
    state = learner.init(nnx.state(decoder))
    for _ in range(3):
        state, _ = learner.update(state, packed)
    assert int(state.step) == 3
    assert learner._micro_step._cache_size() == 2
    assert learner._apply._cache_size() == 1


def test_the_decoder_keeps_its_weights(decoder, rollouts):
    before = jax.tree.map(np.asarray, nnx.state(decoder))
    run(config_of(), decoder, rollouts(ObjectiveConfig()))
    assert_same_parameters(nnx.state(decoder), before, rtol=0)


def test_updates_are_bit_identical(decoder, rollouts):
    first, _ = run(config_of(), decoder, rollouts(ObjectiveConfig()))
    second, _ = run(config_of(), decoder, rollouts(ObjectiveConfig()))
    assert_same_parameters(first.params, second.params, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("remat", ["full", "dots"])
def test_remat_changes_memory_only(decoder, rollouts, remat):
    plain, _ = run(config_of(), decoder, rollouts(ObjectiveConfig()))
    again, _ = run(config_of(policy=PolicyConfig(remat=remat)), decoder, rollouts(ObjectiveConfig()))
    assert_same_parameters(plain.params, again.params, atol=1e-6)


def test_nothing_to_train_on_leaves_the_state(decoder):
    learner = learner_for(config_of(), decoder)
    state = learner.init(nnx.state(decoder))
    same, metrics = learner.update(state, ())
    assert same is state
    assert metrics == {"trained_tokens": 0.0, "proposer/trained_tokens": 0.0}


def test_metrics_are_in_the_table_and_per_role(decoder, rollouts):
    objective = ObjectiveConfig()
    _, metrics = run(config_of(), decoder, rollouts(objective))
    reduced = reduce_metrics([metrics])  # raises for a name that is not in the table
    batches = rollouts(objective)
    for prefix, batch in zip(("", "proposer/"), batches, strict=True):
        trained = batch.kept & (batch.advantages != 0)
        assert metrics[f"{prefix}trained_tokens"] == batch.scored.rollouts.lengths[trained].sum()
        assert reduced[f"{prefix}importance_ratio_mean"] == pytest.approx(1.0)
        assert 0 < reduced[f"{prefix}entropy"] < np.log(17)
    assert reduced["loss"] == pytest.approx(-reduced["objective"] - 0.3 * reduced["proposer/objective"], rel=1e-5)


def test_several_updates_share_their_proximal_logprobs(decoder, rollouts):
    objective = ObjectiveConfig(updates_per_batch=2)
    state, metrics = run(config_of(objective, OptimizerConfig(learning_rate=0.02)), decoder, rollouts(objective))
    assert int(state.step) == 2
    assert metrics["loss"][1] == 2
    # The ratios of the first update are all 1, those of the second are not, and some run into the bounds.
    ratio_sum, ratio_count = metrics["importance_ratio_mean"]
    assert ratio_count == 2 * metrics["trained_tokens"]
    assert abs(ratio_sum / ratio_count - 1) > 1e-3
    assert 0 < metrics["clip_ratio/region_mean"][0] <= metrics["trained_tokens"]


def test_entropy_bonus_acts_below_the_floor_only(decoder, rollouts):
    config, batches = config_of(EVERYTHING), rollouts(EVERYTHING)
    learner = learner_for(config, decoder)
    packed = pack(batches, config.learner, config.objective)
    state, before = learner.update(learner.init(nnx.state(decoder)), packed)
    for _ in range(3):
        state, after = learner.update(state, packed)
    assert reduce_metrics([after])["entropy"] > reduce_metrics([before])["entropy"]
    # The same rows through a floor that lies below the entropy: no bonus, the plain objective.
    plain, _ = run(config_of(), decoder, batches, packing=EVERYTHING)
    low = config_of(dataclasses.replace(EVERYTHING, entropy_floor=0.01))
    untouched, _ = run(low, decoder, batches)
    assert_same_parameters(plain.params, untouched.params, atol=1e-6)


@pytest.mark.parametrize("estimator", ["k3", pytest.param("k2", marks=pytest.mark.slow)])
def test_kl_to_the_reference_policy(decoder, rollouts, estimator):
    objective = ObjectiveConfig(kl_estimator=estimator, kl_weight=0.5)
    config, batches = config_of(objective), rollouts(objective)
    params = nnx.state(decoder)
    plain, _ = run(config_of(), decoder, rollouts(ObjectiveConfig()))
    same, metrics = run(config, decoder, batches, reference_params=params)
    # At the reference both the estimate and its gradient are 0 (k2 = d^2 / 2, k3 = e^-d - 1 + d).
    assert reduce_metrics([metrics])["kl"] == pytest.approx(0, abs=1e-9)
    assert_same_parameters(plain.params, same.params, atol=1e-6)
    other = nnx.state(random_decoder(TINY, jax.random.key(9)))
    pulled, metrics = run(config, decoder, batches, reference_params=other)
    assert reduce_metrics([metrics])["kl"] > 0.01
    assert any((x != y).any() for x, y in zip(leaves(plain.params).values(), leaves(pulled.params).values(), strict=True))


def test_kl_and_reference_policy_belong_together(decoder, rollouts):
    objective = ObjectiveConfig(kl_estimator="k3", kl_weight=0.5)
    with pytest.raises(ConfigError, match="was not handed"):
        run(config_of(objective), decoder, rollouts(objective))
    with pytest.raises(ConfigError, match="'none' and a reference policy was handed"):
        run(config_of(), decoder, rollouts(ObjectiveConfig()), reference_params=nnx.state(decoder))


def test_a_non_finite_loss_leaves_the_state_unchanged(decoder, rollouts):
    config = config_of()
    packed = pack(rollouts(config.objective), config.learner, config.objective)
    broken = packed[0].rollout_logprobs.copy()
    broken[0, 0] = np.nan
    learner = learner_for(config, decoder)
    state = learner.init(nnx.state(decoder))
    with pytest.raises(NonFiniteError, match=r"update 1: loss is nan, gradient norm nan; .*\(.*embedding"):
        learner.update(state, (dataclasses.replace(packed[0], rollout_logprobs=broken), *packed[1:]))
    assert_same_parameters(state.params, nnx.state(decoder), rtol=0)
    after, _ = learner.update(state, packed)  # and it can still be trained
    assert int(after.step) == 1


@pytest.mark.slow
def test_non_finite_in_a_later_update_hands_back_the_last_good_state(decoder, rollouts):
    # A learning rate that throws the parameters out of float32 in the first of two updates.
    config = config_of(ObjectiveConfig(updates_per_batch=2), OptimizerConfig(learning_rate=1e38))
    with pytest.raises(NonFiniteError, match="update 2") as caught:
        run(config, decoder, rollouts(config.objective))
    assert int(caught.value.state.step) == 1


def test_bfloat16_parameters(rollouts):
    decoder = random_decoder(TINY, jax.random.key(0), param_dtype=jnp.bfloat16, compute_dtype=jnp.bfloat16)
    config = config_of(optimizer=OptimizerConfig(learning_rate=0.01))
    learner = learner_for(config, decoder)
    packed = pack(rollouts(config.objective), config.learner, config.objective)
    state = learner.init(nnx.state(decoder))
    types = [x.dtype for x in jax.tree.leaves(state)]
    state, metrics = learner.update(state, packed)
    assert [x.dtype for x in jax.tree.leaves(state)] == types
    assert np.isfinite(metrics["loss"][0])


def test_rewarded_completions_become_likelier(decoder, rollouts):
    config = config_of()
    packed = pack(rollouts(config.objective), config.learner, config.objective)
    learner = learner_for(config, decoder)
    state = learner.init(nnx.state(decoder))

    def weighted(params: nnx.State) -> float:
        return sum(float((learner.token_logprobs(params, b) * b.advantages).sum()) for b in packed)

    before = weighted(state.params)
    for _ in range(5):
        state, _ = learner.update(state, packed)
    assert weighted(state.params) > before + 0.1


def test_abstract_state_matches(decoder):
    learner = learner_for(config_of(), decoder)
    state, shapes = learner.init(nnx.state(decoder)), learner.abstract_state(nnx.state(decoder))
    for made, planned in zip(jax.tree.leaves(state), jax.tree.leaves(shapes), strict=True):
        assert (made.shape, made.dtype, made.sharding) == (planned.shape, planned.dtype, planned.sharding)


def test_moments_on_the_host_change_no_bit_and_survive_a_checkpoint(decoder, rollouts, tmp_path):
    plain = OptimizerConfig(learning_rate=1e-2)
    on_host = config_of(optimizer=dataclasses.replace(plain, moments_memory="host"))
    packed = pack(rollouts(ObjectiveConfig()), on_host.learner, ObjectiveConfig())
    learner, device = learner_for(on_host, decoder), learner_for(config_of(optimizer=plain), decoder)
    states = [one.init(nnx.state(decoder)) for one in (learner, device)]
    for _ in range(2):
        states = [one.update(state, packed)[0] for one, state in zip((learner, device), states, strict=True)]
    assert_same_parameters(states[0].params, states[1].params, rtol=0)
    kinds = {x.sharding.memory_kind for x in jax.tree.leaves(states[0].opt_state) if jnp.issubdtype(x.dtype, jnp.floating)}
    assert kinds == {"pinned_host"}
    assert {x.sharding.memory_kind for x in jax.tree.leaves(states[0].params)} == {"device"}
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    store.save(Checkpoint(2, states[0], {}))
    restored = store.restore(learner.abstract_state(nnx.state(decoder)), print)
    store.close()
    assert restored is not None
    for saved, back in zip(jax.tree.leaves(states[0]), jax.tree.leaves(restored.state), strict=True):
        np.testing.assert_array_equal(saved, back)
        assert saved.sharding == back.sharding
    learner.update(restored.state, packed)


# ---- adapters ---------------------------------------------------------------------------------------------------------------

LORA = LoraConfig(rank=2, alpha=3.0, targets=("query", "down"))


def trained_adapters(params: nnx.State) -> nnx.State:
    """As after some training: B is not zero."""
    return jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(x.size), x.shape), params)


def test_the_gradient_of_adapters_follows_from_the_full_one(decoder, rollouts):
    config = config_of(lora=LORA)
    batches = rollouts(config.objective)
    learner = Learner(config, decoder)
    state = learner.init(nnx.state(decoder))
    state = dataclasses.replace(state, params=trained_adapters(state.params))
    start = jax.tree.map(np.asarray, state.params)
    merged = jax.tree.map(np.asarray, learner.policy_params(state.params))
    graph = nnx.split(decoder)[0]
    full, expected_metrics = run(config_of(), nnx.merge(graph, jax.tree.map(jnp.asarray, merged)), batches)
    after, metrics = learner.update(state, pack(batches, config.learner, config.objective))
    assert metrics["loss"][0] == pytest.approx(expected_metrics["loss"][0], rel=1e-4)
    for name in LORA.targets:
        weight, moved = (tree.layers[0][name]["weight"][...] for tree in (merged, full.params))
        d_weight = (weight - np.asarray(moved)) / RATE
        before, now = (tree.layers[0][name]["adapter"] for tree in (start, after.params))
        a, b = before["a"][...], before["b"][...]
        # W + scale A B: dA = scale dW B^T, dB = scale A^T dW
        np.testing.assert_allclose((a - np.asarray(now["a"][...])) / RATE, LORA.scale * d_weight @ b.T, atol=2e-5)
        np.testing.assert_allclose((b - np.asarray(now["b"][...])) / RATE, LORA.scale * a.T @ d_weight, atol=2e-5)


def test_only_adapters_are_trained_and_held(decoder, rollouts):
    config = config_of(lora=LORA, optimizer=OptimizerConfig(learning_rate=0.1))
    learner = Learner(config, decoder)
    before = jax.tree.map(np.array, nnx.state(decoder))
    packed = pack(rollouts(config.objective), config.learner, config.objective)
    state = learner.init(nnx.state(decoder))
    assert_same_parameters(learner.policy_params(state.params), nnx.state(decoder), rtol=0)
    for _ in range(2):
        state, _ = learner.update(state, packed)
    assert_same_parameters(nnx.state(decoder), before, rtol=0)
    # query 16 x 16 and down 24 x 16 at rank 2; Adam holds two moments, and counters of four bytes
    adapters = 2 * (16 + 16 + 24 + 16)
    assert sum(x.size for x in jax.tree.leaves(state.params)) == adapters
    assert sum(x.nbytes for x in jax.tree.leaves(state.opt_state) if x.ndim) == 2 * 4 * adapters
    after = learner.policy_params(state.params)
    assert_same_parameters(after.embedding, before.embedding, rtol=0)
    assert_same_parameters(after.layers[0]["up"], before.layers[0]["up"], rtol=0)
    assert (np.asarray(after.layers[0]["query"]["weight"][...]) != before.layers[0]["query"]["weight"][...]).any()
    for batch in packed:  # what samples is what is trained
        np.testing.assert_allclose(
            learner.token_logprobs(state.params, batch),
            learner_for(config_of(), decoder).token_logprobs(after, batch),
            atol=1e-4,
        )


@pytest.mark.slow
def test_the_reference_of_adapters_is_the_base(decoder, rollouts):
    objective = ObjectiveConfig(kl_estimator="k3", kl_weight=0.5)
    config = config_of(objective, lora=LORA)
    learner = Learner(config, decoder)
    reference = learner.reference_params(nnx.state(decoder))
    assert sum(x.size for x in jax.tree.leaves(reference)) == 2 * (16 + 16 + 24 + 16)
    packed = pack(rollouts(objective), config.learner, objective)
    for batch in packed:
        plain = learner_for(config_of(), decoder).token_logprobs(nnx.state(decoder), batch)
        np.testing.assert_allclose(learner.token_logprobs(reference, batch), plain, atol=1e-6)
    _, metrics = learner.update(learner.init(nnx.state(decoder)), packed, reference)
    assert reduce_metrics([metrics])["kl"] == pytest.approx(0, abs=1e-9)


@pytest.mark.slow
def test_adapters_beside_a_bfloat16_base(rollouts):
    decoder = random_decoder(TINY, jax.random.key(0), param_dtype=jnp.bfloat16, compute_dtype=jnp.bfloat16)
    config = config_of(lora=LORA, optimizer=OptimizerConfig(learning_rate=0.01))
    learner = Learner(config, decoder)
    state = learner.init(nnx.state(decoder))
    state, metrics = learner.update(state, pack(rollouts(config.objective), config.learner, config.objective))
    assert {x.dtype for x in jax.tree.leaves(state.params)} == {jnp.dtype(jnp.float32)}
    assert np.isfinite(metrics["loss"][0])
    assert {x.dtype for x in jax.tree.leaves(learner.policy_params(state.params))} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.skipif(find_spec("omegaconf") is not None, reason="MaxText is installed")
def test_maxtext_where_it_is_not_installed_is_a_clear_error(decoder):
    with pytest.raises(PolicyError, match=r"pip install .*requirements-maxtext\.txt"):
        Learner(config_of(policy=PolicyConfig(backend="maxtext")), decoder)
