"""MaxText's decoder against ours and against what transformers computed (make test-maxtext; skipped without MaxText)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from evo_jax.config import ConfigError, PolicyConfig
from evo_jax.policy.attention import packed_attend
from evo_jax.policy.decoder import random_decoder
from evo_jax.policy.errors import PolicyError
from evo_jax.policy.loading import load_policy
from evo_jax.policy.maxtext import abstract_maxtext
from evo_jax.policy.maxtext_weights import MaxTextWeights
from evo_jax.policy.model_config import ModelConfig
from evo_jax.policy.rope import RopeScaling
from evo_jax.sharding import make_mesh
from tests.evo_jax.policy.test_loading import FIXTURES, tiny_directory

pytest.importorskip("omegaconf", reason="MaxText is an extra: make test-maxtext")
pytestmark = pytest.mark.slow
QWEN3 = ModelConfig("qwen3", 300, 2, 16, 24, 4, 2, 8, qk_norm=True, tied_embeddings=True)
QWEN2 = dataclasses.replace(QWEN3, family="qwen2", qk_norm=False, tied_embeddings=False, attention_bias=True)
LINEAR = dataclasses.replace(QWEN3, family="llama", qk_norm=False, rope_theta=500.0, rope_scaling=RopeScaling("linear", 4.0))
LLAMA3 = dataclasses.replace(LINEAR, rope_theta=5e5, rope_scaling=RopeScaling("llama3", 8.0, 8192, 1.0, 4.0))
MIXTURE = dataclasses.replace(
    QWEN3, family="qwen3_moe", tied_embeddings=False, num_experts=4, experts_per_token=2, expert_ffn_width=12
)
MODELS = {"qwen3": QWEN3, "qwen2 biased": QWEN2, "llama linear": LINEAR, "llama 3.1": LLAMA3}


def maxtext(decoder, *options, scan=False):
    chosen = PolicyConfig(backend="maxtext", maxtext_options=options, scan_layers=scan)
    built = abstract_maxtext(decoder.config, chosen, attention="xla", dtypes=("float32", "float32"), mesh=make_mesh())
    return built, MaxTextWeights(decoder, built)


def packed_rows(vocab_size):
    """Three sequences a row and some padding."""
    lengths = (11, 17, 15)
    tokens = np.random.default_rng(0).integers(4, vocab_size, (2, 48)).astype(np.int32)
    segments = np.repeat([*range(1, len(lengths) + 1), 0], [*lengths, 48 - sum(lengths)]).astype(np.int32)
    positions = np.concatenate([np.arange(n) for n in (*lengths, 48 - sum(lengths))]).astype(np.int32)
    return tokens, np.stack([positions] * 2), np.stack([segments] * 2)


def logits_of(built, params, rows):
    graph, _, keys = nnx.split(built, nnx.Param, ...)

    @jax.jit
    def run(params, keys):
        decoder = nnx.merge(graph, params, keys)
        return decoder(*rows) @ decoder.head_weight().T

    return run(params, keys)


@pytest.mark.parametrize("scan", [False, True], ids=["unrolled", "scanned"])
@pytest.mark.parametrize("name", MODELS)
def test_logits_equal_those_of_our_decoder(name, scan):
    decoder = random_decoder(MODELS[name], jax.random.key(0))
    graph, params = nnx.split(decoder)
    # Norms are 1 and biases 0 at first: moved, so that one put in another's place shows.
    params = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(jax.random.key(x.size), x.shape), params)
    decoder = nnx.merge(graph, params)
    built, weights = maxtext(decoder, scan=scan)
    tokens, positions, segments = packed_rows(300)
    if name == "llama 3.1":
        positions = positions * 300  # beyond the context that was stretched
    found = logits_of(built, weights.to_maxtext(params), (tokens, positions, segments))
    hidden = decoder(
        jnp.asarray(tokens), jnp.asarray(positions), packed_attend(jnp.asarray(segments), jnp.zeros_like(segments))
    )
    expected = np.asarray(decoder.logits(hidden))
    assert np.abs(expected[segments > 0]).max() > 1  # the comparison below means something
    np.testing.assert_allclose(np.asarray(found)[segments > 0], expected[segments > 0], atol=1e-4, rtol=0)
    back = jax.jit(weights.to_plain)(weights.to_maxtext(params))
    for (path, there), here in zip(jax.tree.leaves_with_path(params), jax.tree.leaves(back), strict=True):
        np.testing.assert_array_equal(there, here, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize(
    ("name", "scan"),
    [
        ("qwen3_tied", False),
        ("qwen3_untied", False),
        ("qwen2_tied", False),
        ("llama_tied", False),
        ("maxtext/qwen3_moe", False),
        ("maxtext/qwen3_moe", True),
    ],
)
def test_logits_equal_transformers(name, scan, tmp_path):
    policy = load_policy(tiny_directory(name, tmp_path), compute_dtype="float32")
    built, weights = maxtext(policy.decoder, scan=scan)
    expected = np.load(FIXTURES / name / "expected.npz")
    tokens = jnp.asarray(expected["tokens"])
    rows = (tokens, jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape), jnp.ones_like(tokens))
    found = logits_of(built, weights.to_maxtext(nnx.state(policy.decoder)), rows)
    np.testing.assert_allclose(found[:, expected["positions"]], expected["logits"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("scan", [False, True], ids=["unrolled", "scanned"])
def test_a_mixture_of_experts_goes_there_and_back(scan):
    decoder = random_decoder(MIXTURE, jax.random.key(0))
    _, weights = maxtext(decoder, scan=scan)
    params = nnx.state(decoder)
    back = jax.jit(lambda params: weights.to_plain(weights.to_maxtext(params)))(params)
    for (path, there), here in zip(jax.tree.leaves_with_path(params), jax.tree.leaves(back), strict=True):
        np.testing.assert_array_equal(there, here, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize(("name", "reason"), [("llama_llama3_biased", "bias after attention"), ("qwen2_yarn", "RoPE scaling")])
def test_what_maxtext_computes_otherwise_is_refused(name, reason, tmp_path):
    with pytest.raises(PolicyError, match=reason):
        maxtext(load_policy(tiny_directory(name, tmp_path)).decoder)


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("head_dim=4", "follows the model"),
        ("remat_policy=full", "follows the model"),
        ("sa_block_q", "has no '='"),
        ("no_such_setting=1", "no_such_setting"),
    ],
)
def test_an_option_that_is_unknown_or_follows_from_the_run_is_refused(option, reason):
    with pytest.raises(ConfigError, match=reason):
        maxtext(random_decoder(QWEN3, jax.random.key(0)), option)
