"""Tests of evo_jax/policy/lora.py."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from evo_jax.config import ConfigError, LoraConfig
from evo_jax.policy.attention import causal_attend
from evo_jax.policy.decoder import Decoder, flat_parameters, logical_axes, random_decoder
from evo_jax.policy.lora import Adapter, LoraParam, initial_adapters, merged_parameters, with_adapters
from evo_jax.policy.model_config import ModelConfig

BIASED = ModelConfig(
    "qwen2", vocab_size=50, num_layers=1, width=16, ffn_width=24, num_heads=4, num_kv_heads=2, head_size=4, attention_bias=True
)
LORA = LoraConfig(rank=3, alpha=6.0)
TOKENS = jnp.arange(1, 10)[None]


def some_adapters(abstract: nnx.State) -> nnx.State:
    """B too is not zero, as after training."""
    adapters = initial_adapters(abstract, 1)
    return jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(x.size), x.shape), adapters)


@nnx.jit
def hidden(decoder: Decoder) -> jax.Array:
    return decoder(TOKENS, jnp.arange(TOKENS.shape[1])[None], causal_attend)


def test_a_product_and_its_gradient_by_hand() -> None:
    weight, x, slope = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[1.0, 1.0]]), jnp.array([[1.0, 2.0]])
    adapter = Adapter((2, 2), rank=1, scale=2.0)
    adapter.a[...], adapter.b[...] = jnp.array([[1.0], [2.0]]), jnp.array([[1.0, -1.0]])
    # x A = 3, times scale and B: 6 and -6
    np.testing.assert_array_equal(x @ weight + adapter(x), [[10.0, 0.0]])
    gradient = nnx.grad(lambda adapter: jnp.sum(slope * adapter(x)), argnums=nnx.DiffState(0, LoraParam))(adapter)
    # slope B^T = -1, so dA = scale x^T (slope B^T) = -2 in both rows; dB = scale (x A)^T slope = 6 slope
    np.testing.assert_array_equal(gradient.a[...], [[-2.0], [-2.0]])
    np.testing.assert_array_equal(gradient.b[...], [[6.0, 12.0]])


def test_the_first_policy_is_the_base_to_the_last_bit() -> None:
    base = random_decoder(BIASED, jax.random.key(0))
    graph, abstract, frozen = nnx.split(with_adapters(base, LORA), LoraParam, ...)
    adapters = initial_adapters(abstract, 1)
    np.testing.assert_array_equal(hidden(nnx.merge(graph, adapters, frozen)), hidden(base))
    merged = merged_parameters(frozen, adapters, LORA.scale, jnp.float32)
    assert jax.tree.structure(merged) == jax.tree.structure(nnx.state(base))
    jax.tree.map(np.testing.assert_array_equal, merged, nnx.state(base))
    assert base.layers[0].query.adapter is None  # what others hold has no adapters


@pytest.mark.parametrize("targets", [(), ("query", "down")])
def test_merged_weights_are_the_same_policy(targets: tuple[str, ...]) -> None:
    lora = dataclasses.replace(LORA, targets=targets)
    base = random_decoder(BIASED, jax.random.key(0))
    graph, abstract, frozen = nnx.split(with_adapters(base, lora), LoraParam, ...)
    adapters = some_adapters(abstract)
    assert len(jax.tree.leaves(adapters)) == 2 * (len(targets) or 7)
    adapted = hidden(nnx.merge(graph, adapters, frozen))
    assert np.abs(adapted - hidden(base)).max() > 0.1
    merged = merged_parameters(frozen, adapters, lora.scale, jnp.float32)
    np.testing.assert_allclose(hidden(nnx.merge(nnx.split(base)[0], merged)), adapted, atol=2e-5)
    same = merged.embedding[...].unsafe_buffer_pointer() == base.embedding[...].unsafe_buffer_pointer()
    assert same  # what has no adapter is not copied


def test_a_narrow_base_is_merged_in_float32() -> None:
    base = random_decoder(BIASED, jax.random.key(0), param_dtype=jnp.bfloat16)
    lora = dataclasses.replace(LORA, targets=("up",))
    _, abstract, frozen = nnx.split(with_adapters(base, lora), LoraParam, ...)
    adapters = some_adapters(abstract)
    weight = np.asarray(base.layers[0].up.weight[...], np.float32)
    up = adapters.layers[0]["up"]["adapter"]
    expected = weight + LORA.scale * (np.asarray(up["a"][...]) @ np.asarray(up["b"][...]))
    for dtype in (jnp.float32, jnp.bfloat16):
        found = merged_parameters(frozen, adapters, LORA.scale, dtype).layers[0]["up"]["weight"][...]
        assert found.dtype == dtype
        np.testing.assert_allclose(np.asarray(found, np.float32), expected, rtol=0, atol=1e-6 if dtype == jnp.float32 else 8e-3)


@pytest.mark.slow
def test_remat_changes_no_gradient() -> None:
    graph, abstract, frozen = nnx.split(with_adapters(random_decoder(BIASED, jax.random.key(0)), LORA), LoraParam, ...)
    adapters = some_adapters(abstract)

    def loss(adapters: nnx.State, remat: str) -> jax.Array:
        decoder = nnx.merge(graph, adapters, frozen)
        return jnp.sum(jnp.sin(decoder(TOKENS, jnp.arange(TOKENS.shape[1])[None], causal_attend, remat=remat)))

    gradient = jax.jit(jax.grad(loss), static_argnames="remat")
    plain, *others = (gradient(adapters, remat) for remat in ("none", "dots", "full"))
    for other in others:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), plain, other)


def test_first_values_are_uniform_within_their_bound_and_differ() -> None:
    abstract = nnx.split(with_adapters(random_decoder(BIASED, jax.random.key(0)), LORA), LoraParam, ...)[1]
    values = {path: np.asarray(variable[...]) for path, variable in flat_parameters(initial_adapters(abstract, 1))}
    firsts = {path: value for path, value in values.items() if path[-1] == "a"}
    for path, value in firsts.items():
        bound = value.shape[0] ** -0.5
        assert 0.5 * bound < np.abs(value).max() <= bound, path
    assert len({value.tobytes() for value in firsts.values()}) == len(firsts)
    assert all(not value.any() for path, value in values.items() if path[-1] == "b")


def test_adapters_are_cut_like_the_weights_they_stand_beside() -> None:
    assert logical_axes(("layers", 3, "gate", "adapter", "a")) == ("embed", "rank")
    assert logical_axes(("layers", 3, "gate", "adapter", "b")) == ("rank", "mlp")
    with pytest.raises(KeyError, match=r"final_norm\.adapter\.a"):
        logical_axes(("final_norm", "adapter", "a"))


def test_an_adapter_larger_than_its_weight_is_refused() -> None:
    with pytest.raises(ConfigError, match="rank=6 makes the adapter of key larger than its 16 x 8"):
        with_adapters(random_decoder(BIASED, jax.random.key(0)), LoraConfig(rank=6, alpha=6.0, targets=("key",)))
