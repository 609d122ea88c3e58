"""The solver and the embedder that admission is lent, on a tiny policy with the real engine."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from evo_jax.lent_models import EMBEDDED_TOKENS, EngineSolver, PolicyEmbedder, PromptLimits
from evo_jax.policy.attention import causal_attend
from evo_jax.policy.loading import Policy, load_policy
from evo_jax.rollouts.embedded import EmbeddedEngine, EngineSettings


@pytest.fixture(scope="module")
def policy(tiny_policy_path: Path) -> Policy:
    return load_policy(tiny_policy_path, compute_dtype="float32")


@pytest.fixture(scope="module")
def engine(policy: Policy) -> EmbeddedEngine:
    made = EmbeddedEngine(policy.model_config, policy.tokenizer, EngineSettings(slots=4, lanes=2, max_prompt_tokens=256))
    made.load_weights(nnx.state(policy.decoder), 3)
    return made


def test_replies_depend_on_prompt_and_seed_alone_and_long_prompts_stay_unanswered(
    policy: Policy, engine: EmbeddedEngine
) -> None:
    def solver() -> EngineSolver:
        return EngineSolver(engine, policy.tokenizer, PromptLimits(200, policy.model_config.max_positions))

    asked = solver()
    first, second, long = asked.replies(["What is 1 + 1?", "Why?", "word " * 400], 2, 6, 1.0, 5)
    assert [len(group) for group in (first, second, long)] == [2, 2, 2]
    assert solver().replies(["Why?"], 2, 6, 1.0, 5) == [second]
    assert solver().replies(["Why?"], 2, 6, 1.0, 6) != [second]
    assert all(reply.text == "" and reply.truncated for reply in long)
    assert asked.unanswered_prompts == 1
    assert 0 < asked.sampled_tokens <= 24
    assert asked.name == "policy at step 3"


def test_a_reply_must_fit_the_model_beside_its_prompt() -> None:
    limits = PromptLimits(prompt_tokens=100, positions=120)
    assert limits.allow(100, 20)
    assert not limits.allow(100, 21)
    assert not limits.allow(101, 1)


def test_an_embedding_is_the_mean_hidden_state_whatever_the_padding(policy: Policy) -> None:
    embedder = PolicyEmbedder(policy, "tiny")
    texts = ["one", "a somewhat longer text, with more words in it than the first", "many words " * 400]
    found = np.array(embedder.embed(texts))
    graph, params = nnx.split(policy.decoder)
    narrow = nnx.merge(graph, jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params))  # as the embedder keeps them
    for vector, text in zip(found, texts, strict=True):
        tokens = jnp.array([policy.tokenizer.encode(text)[:EMBEDDED_TOKENS]])
        hidden = narrow(tokens, jnp.arange(tokens.shape[1])[None], causal_attend)
        np.testing.assert_allclose(vector, np.asarray(hidden[0].mean(axis=0)), atol=1e-4)
    assert embedder.embed(texts[:1])[0] == found[0].tolist()
