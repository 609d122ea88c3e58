"""Tiny random policies, a byte tokenizer, engines over them, and the plain forward pass they are held to."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import tokenizers
from flax import nnx

from evo_jax.policy.attention import causal_attend
from evo_jax.policy.decoder import Decoder, random_decoder
from evo_jax.policy.model_config import ModelConfig
from evo_jax.policy.tokenizer import Tokenizer
from evo_jax.rollouts.embedded import EmbeddedEngine, EngineSettings

VOCAB = 300
EOS = 1

TINY = ModelConfig(
    family="llama",
    vocab_size=VOCAB,
    num_layers=2,
    width=48,
    ffn_width=96,
    num_heads=4,
    num_kv_heads=2,
    head_size=16,
    tied_embeddings=True,
    max_positions=256,
    eos_token_ids=(EOS,),
)
FAMILIES = {
    "llama": TINY,
    "qwen2": dataclasses.replace(TINY, family="qwen2", attention_bias=True, num_heads=6),
    "qwen3": dataclasses.replace(TINY, family="qwen3", qk_norm=True, tied_embeddings=False, num_kv_heads=4),
}


def tiny_decoder(config: ModelConfig, seed: int = 0) -> Decoder:
    """Random weights, biases and norms included, with a head sharp enough that log-probs differ."""
    decoder = random_decoder(config, jax.random.key(seed))
    params = nnx.state(decoder)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    noisy = [x + 0.1 * jax.random.normal(key, x.shape, x.dtype) for x, key in zip(leaves, keys, strict=True)]
    nnx.update(decoder, jax.tree.unflatten(tree, noisy))
    return decoder


def byte_tokenizer() -> Tokenizer:
    """Token 44 + b is byte b, so that any text, also half a character, can be built token by token."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocab = {"<unk>": 0, "<eos>": EOS} | {f"<{n}>": n for n in range(2, 44)}
    vocab |= {character: 44 + place for place, character in enumerate(alphabet)}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens(["<eos>"])
    return Tokenizer(backend, {"eos_token": "<eos>"}, eos_token_ids=(EOS,))


def make_engine(
    decoder: Decoder, *, slots: int = 8, lanes: int = 4, dispatch_steps: int = 4, bucket: int = 16, version: int = 3
) -> EmbeddedEngine:
    settings = EngineSettings(
        slots=slots, lanes=lanes, dispatch_steps=dispatch_steps, length_bucket_tokens=bucket, max_prompt_tokens=48
    )
    engine = EmbeddedEngine(decoder.config, byte_tokenizer(), settings, dtype=decoder.compute_dtype)
    engine.load_weights(nnx.state(decoder), version)
    return engine


ROW = 48  # one padded length, so that the plain forward pass compiles once; causality hides the padding


@nnx.jit
def row_logits(decoder: Decoder, row: jax.Array) -> jax.Array:
    """[ROW, V] logits of a padded row by the policy's own forward pass."""
    return decoder.logits(decoder(row[None], jnp.arange(ROW)[None], causal_attend)[0])


def plain_logprobs(decoder: Decoder, prompt: tuple[int, ...], tokens: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """[n, V] log-probs of every token at the positions of a completion, by one plain forward pass."""
    row = np.zeros(ROW, np.int32)
    end = len(prompt) + len(tokens)
    row[:end] = [*prompt, *tokens.tolist()]
    logits = np.asarray(row_logits(decoder, row))[len(prompt) - 1 : end - 1].astype(np.float64) / temperature
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))
