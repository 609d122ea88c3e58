"""Tests of evo_jax/policy/decoder.py."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from evo_jax.policy.attention import causal_attend, masked_attention, packed_attend
from evo_jax.policy.decoder import REMATS, abstract_decoder, flat_parameters, logical_axes, random_decoder
from evo_jax.policy.model_config import ModelConfig

QWEN3 = ModelConfig("qwen3", 50, 2, 16, 24, 4, 2, 8, qk_norm=True, tied_embeddings=True)
BIASED = dataclasses.replace(QWEN3, family="llama", attention_bias=True, attention_output_bias=True, qk_norm=False)
UNTIED = dataclasses.replace(QWEN3, family="qwen2", tied_embeddings=False, attention_bias=True, qk_norm=False)


def tokens_and_positions(length=12):
    tokens = jax.random.randint(jax.random.key(1), (2, length), 0, 50)
    return tokens, jnp.broadcast_to(jnp.arange(length), tokens.shape)


@jax.jit
def forward(decoder, tokens, positions, groups, completions):
    return decoder(tokens, positions, packed_attend(groups, completions))


def one_group(tokens):
    return jnp.ones_like(tokens), jnp.zeros_like(tokens)


@pytest.mark.parametrize("config", [QWEN3, BIASED, UNTIED], ids=lambda c: c.family)
def test_every_parameter_has_a_shape_and_named_axes(config):
    abstract = flat_parameters(nnx.state(abstract_decoder(config)))
    assert sum(math.prod(v.shape) for _, v in abstract) == config.parameter_count
    for path, variable in abstract:
        assert isinstance(variable.get_raw_value(), jax.ShapeDtypeStruct)
        assert len(logical_axes(path)) == len(variable.shape)
    assert any(path == ("head",) for path, _ in abstract) is not config.tied_embeddings


def test_unknown_parameter_has_no_axes():
    with pytest.raises(KeyError, match=r"layers\.0\.router"):
        logical_axes(("layers", 0, "router"))


def test_same_key_same_weights():
    first, again, other = (jax.tree.leaves(random_decoder(QWEN3, jax.random.key(k))) for k in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_neither_remat_nor_scan_changes_a_gradient():
    decoder = random_decoder(UNTIED, jax.random.key(0))
    graph, params = nnx.split(decoder)
    tokens, positions = tokens_and_positions()

    def gradient(remat, scan):
        def loss(params):
            decoder = nnx.merge(graph, params)
            return jnp.mean(jnp.sin(decoder.logits(decoder(tokens, positions, causal_attend, remat=remat, scan=scan))))

        return jax.tree.leaves(jax.jit(jax.grad(loss))(params))

    expected = gradient("none", False)
    assert all(np.any(leaf) for leaf in expected)
    for remat, scan in [(remat, scan) for remat in REMATS for scan in (False, True)][1:]:
        for actual, wanted in zip(gradient(remat, scan), expected, strict=True):
            np.testing.assert_allclose(actual, wanted, atol=1e-6, err_msg=f"{remat}, {scan}")


def test_unknown_remat_is_refused():
    decoder = random_decoder(QWEN3, jax.random.key(0))
    with pytest.raises(ValueError, match="some"):
        decoder(*tokens_and_positions(), causal_attend, remat="some")


def test_attend_is_called_once_a_layer_in_order():
    decoder, calls = random_decoder(QWEN3, jax.random.key(0)), []

    def attend(layer, q, k, v):
        calls.append((layer, q.shape, k.shape, v.shape))
        return causal_attend(layer, q, k, v)

    hidden = jax.eval_shape(lambda *args: decoder(*args, attend), *tokens_and_positions())
    assert hidden.shape == (2, 12, 16)
    assert calls == [(i, (2, 12, 4, 8), (2, 12, 2, 8), (2, 12, 2, 8)) for i in range(2)]


def test_an_attend_with_a_cache_continues_where_a_prompt_ended():
    """How the rollout engine uses the seam: keys and values kept by a closure, one new token at a time."""
    decoder = random_decoder(QWEN3, jax.random.key(0))
    tokens, positions = tokens_and_positions()
    cache = {}

    def attend(layer, q, k, v):
        old = cache.get(layer)
        k, v = (k, v) if old is None else (jnp.concatenate([a, b], axis=1) for a, b in zip(old, (k, v), strict=True))
        cache[layer] = (k, v)
        index = k.shape[1] - q.shape[1] + jnp.arange(q.shape[1])
        visible = jnp.arange(k.shape[1]) <= index[:, None]
        return masked_attention(q, k, v, jnp.broadcast_to(visible, (q.shape[0], *visible.shape)))

    whole = forward(decoder, tokens, positions, *one_group(tokens))

    @jax.jit
    def in_parts(decoder):
        spans = (slice(0, 11), slice(11, 12))
        return jnp.concatenate([decoder(tokens[:, s], positions[:, s], attend) for s in spans], axis=1)

    np.testing.assert_allclose(in_parts(decoder), whole, atol=2e-5)


def test_a_packed_group_equals_its_members_alone():
    """A prompt shared by two completions gives each the hidden states that it has in a row of its own."""
    decoder = random_decoder(BIASED, jax.random.key(0))
    prompt, first, second = (list(np.random.default_rng(0).integers(0, 50, n)) for n in (5, 3, 2))
    packed = forward(
        decoder,
        jnp.array([prompt + first + second + [0, 0]]),
        jnp.array([[*range(8), 5, 6, 0, 0]]),
        jnp.array([[1] * 10 + [0] * 2]),
        jnp.array([[0] * 5 + [1] * 3 + [2] * 2 + [0] * 2]),
    )[0]
    for completion, span in ((first, slice(5, 8)), (second, slice(8, 10))):
        row = jnp.array([[*prompt, *completion, *[0] * (7 - len(completion))]])
        alone = forward(decoder, row, jnp.arange(12)[None], *one_group(row))[0]
        np.testing.assert_allclose(packed[:5], alone[:5], atol=2e-5)
        np.testing.assert_allclose(packed[span], alone[5 : 5 + len(completion)], atol=2e-5)


def test_logits_are_float32_products_with_the_head():
    decoder = random_decoder(UNTIED, jax.random.key(0), compute_dtype=jnp.bfloat16)
    hidden = forward(decoder, *tokens_and_positions(), *one_group(tokens_and_positions()[0]))
    assert hidden.dtype == jnp.bfloat16
    logits = decoder.logits(hidden[0, :2])
    assert logits.dtype == jnp.float32
    head = np.asarray(decoder.head_weight().astype(jnp.bfloat16), np.float32)
    np.testing.assert_allclose(logits, np.asarray(hidden[0, :2], np.float32) @ head.T, rtol=1e-4, atol=1e-4)


def test_tied_head_is_the_embedding():
    decoder = random_decoder(QWEN3, jax.random.key(0))
    assert decoder.head is None
    np.testing.assert_array_equal(decoder.head_weight(), decoder.embedding[...])
