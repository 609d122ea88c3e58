"""Rollouts made by hand for the tests of the update, and a tiny policy for the tests of the whole ring."""

from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from evo_jax.policy.decoder import random_decoder
from evo_jax.policy.huggingface_writing import save_huggingface
from evo_jax.policy.loading import load_policy
from evo_jax.policy.model_config import ModelConfig
from evo_jax.records import Prompt, Role, RolloutBatch, ScoredBatch

VOCAB = 17
SMALL_MODEL = Path(__file__).parents[2] / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"


def build_scored(
    rewards: Sequence[Sequence[float]],
    *,
    lengths: Sequence[Sequence[int]] | None = None,
    invalid: Sequence[tuple[int, int]] = (),
    truncated: Sequence[tuple[int, int]] = (),
    prompt_lengths: Sequence[int] | None = None,
    role: Role = Role.SOLVER,
    seed: int = 0,
) -> ScoredBatch:
    """Groups with the given rewards; tokens and rollout log-probs are random, padding is garbage on purpose.

    `invalid` and `truncated` name (prompt, member) pairs; lengths default to 3 tokens.
    """
    rng = np.random.default_rng(seed)
    reward_array = np.asarray(rewards, np.float32)
    prompts, group = reward_array.shape
    length_array = np.full((prompts, group), 3) if lengths is None else np.asarray(lengths)
    longest = max(1, int(length_array.max()))
    masks = np.zeros((2, prompts, group), bool)
    for which, pairs in enumerate((invalid, truncated)):
        for pair in pairs:
            masks[which][pair] = True
    rollouts = RolloutBatch(
        prompts=tuple(
            Prompt(role, "text", tuple(int(t) for t in rng.integers(1, VOCAB, n)), f"environment-{i}", f"instance-{i}", 0)
            for i, n in enumerate(prompt_lengths or [4] * prompts)
        ),
        group_size=group,
        texts=("",) * (prompts * group),
        tokens=rng.integers(1, VOCAB, (prompts * group, longest)).astype(np.int32),
        lengths=length_array.reshape(-1).astype(np.int32),
        rollout_logprobs=-rng.uniform(0.5, 4.0, (prompts * group, longest)).astype(np.float32),
        truncated=masks[1].reshape(-1),
        policy_versions=np.zeros((prompts * group, longest), np.int32),
    )
    invalid_members = masks[0].reshape(-1)
    return ScoredBatch(rollouts, reward_array.reshape(-1), ~invalid_members, np.zeros_like(invalid_members))


@pytest.fixture(scope="session")
def make_scored() -> Callable[..., ScoredBatch]:
    return build_scored


@pytest.fixture(scope="session")
def tiny_policy_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face directory with random weights of two layers and the real tokenizer of the small model."""
    if not SMALL_MODEL.is_file():
        pytest.skip("the small model is not here: run `make model`")
    tokenizer = load_policy(SMALL_MODEL).tokenizer
    config = ModelConfig(
        family="llama",
        vocab_size=49152,
        num_layers=2,
        width=32,
        ffn_width=64,
        num_heads=4,
        num_kv_heads=2,
        head_size=8,
        tied_embeddings=True,
        max_positions=4096,
        eos_token_ids=tokenizer.eos_token_ids,
    )
    path = tmp_path_factory.mktemp("policy") / "tiny"
    save_huggingface(path, config, nnx.state(random_decoder(config, jax.random.key(0))), tokenizer)
    return path
