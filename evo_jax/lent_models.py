"""The models that admission is lent: the policy under training as the solver, the policy of step 0 as the embedder.

Both stand behind env_synth's protocols, so that no array crosses the seam. The solver samples with the run's own engine: what
is calibrated is the policy that will be trained. The embedder never changes while the archive lives. Left out: what is
asked, and what follows from it (`env_synth.admission`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from jax.tree_util import PyTreeDef
from jaxtyping import Array, Float32, Int32

from env_synth.solver.protocol import Reply, reply_seed
from evo_jax.policy.attention import packed_attend
from evo_jax.policy.loading import Policy
from evo_jax.policy.tokenizer import Tokenizer
from evo_jax.rollouts.protocol import RolloutEngine, RolloutRequest, SamplingParams

EMBEDDED_TOKENS = 512  # of a text: what stands further on hardly moves a mean, and costs time
LENGTH_BUCKETS = (64, 128, 256, EMBEDDED_TOKENS)


@dataclass(frozen=True)
class PromptLimits:
    """Which prompts are answered: of at most `prompt_tokens`, and of at most `positions` together with the longest reply."""

    prompt_tokens: int
    positions: int

    def allow(self, prompt_tokens: int, reply_tokens: int) -> bool:
        """Whether a prompt of this length can be answered at this length."""
        return prompt_tokens <= self.prompt_tokens and prompt_tokens + reply_tokens <= self.positions


class EngineSolver:
    """A `Solver` over a rollout engine. Counts what it samples, for the run's metrics."""

    def __init__(
        self, engine: RolloutEngine, tokenizer: Tokenizer, limits: PromptLimits, *, top_k: int = 0, top_p: float = 1.0
    ) -> None:
        """A prompt outside `limits` gets replies that are empty and truncated: unanswered."""
        self._engine, self._tokenizer = engine, tokenizer
        self._limits, self._top_k, self._top_p = limits, top_k, top_p
        self.sampled_tokens = 0
        self.unanswered_prompts = 0

    @property
    def name(self) -> str:
        """The policy with the version of its weights."""
        return f"policy at step {self._engine.policy_version}"

    def replies(
        self, prompts: Sequence[str], n: int, max_tokens: int, temperature: float, seed: int, stop: Sequence[str] = ()
    ) -> list[list[Reply]]:
        """As `Solver.replies`: one group a prompt, all in one call of the engine."""
        sampling = SamplingParams(max_tokens, temperature, self._top_k, self._top_p, tuple(stop))
        chats = [self._tokenizer.chat_prompt([{"role": "user", "content": prompt}]) for prompt in prompts]
        fitting = [place for place, chat in enumerate(chats) if self._limits.allow(len(chat.token_ids), max_tokens)]
        requests = [
            RolloutRequest(f"model stage/{place}", chats[place].token_ids, n, reply_seed(prompts[place], seed, 0), sampling)
            for place in fitting
        ]
        found = dict(zip(fitting, self._engine.generate(requests) if requests else [], strict=True))
        self.unanswered_prompts += len(prompts) - len(fitting)
        self.sampled_tokens += sum(len(completion.tokens) for group in found.values() for completion in group)
        unanswered = [Reply("", truncated=True)] * n
        return [
            [Reply(completion.text, completion.finish_reason == "length") for completion in found[place]]
            if place in found
            else list(unanswered)
            for place in range(len(prompts))
        ]


@dataclass(frozen=True)
class _Kept:
    """This process's part of an array, in host memory: the pieces by the slices that they were cut out by."""

    shape: tuple[int, ...]
    sharding: jax.sharding.Sharding
    pieces: dict[jax.sharding.Index, np.ndarray]

    def placed(self) -> Array:
        """The array again."""
        return jax.make_array_from_callback(self.shape, self.sharding, lambda index: self.pieces[index])


class PolicyEmbedder:
    """An `Embedder`: mean-pooled final hidden states of a policy's weights as they were when this was made.

    The weights are kept in host memory as bfloat16, and lie where the policy's do only while something is embedded. In a job
    of several processes each keeps its own part, and all must embed the same.
    """

    def __init__(self, policy: Policy, name: str) -> None:
        self.name = name
        self._tokenizer = policy.tokenizer
        graph, params = nnx.split(policy.decoder)
        self._weights, self._tree = _kept_leaves(params)
        places = self._weights[0].sharding
        everywhere = NamedSharding(places.mesh, PartitionSpec()) if isinstance(places, NamedSharding) else None
        self._pool = jax.jit(functools.partial(_mean_hidden, graph), out_shardings=everywhere)

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """As `Embedder.embed`: one vector of the model's width a text, of its first tokens."""
        weights = jax.tree.unflatten(self._tree, [kept.placed() for kept in self._weights])
        return [np.asarray(self._pool(weights, *self._row(text))).tolist() for text in texts]

    def _row(self, text: str) -> tuple[Int32[np.ndarray, "1 L"], Int32[np.ndarray, ""]]:
        tokens = (self._tokenizer.encode(text) or [self._tokenizer.pad_token_id])[:EMBEDDED_TOKENS]
        length = next(bucket for bucket in LENGTH_BUCKETS if len(tokens) <= bucket)
        row = np.full((1, length), self._tokenizer.pad_token_id, np.int32)
        row[0, : len(tokens)] = tokens
        return row, np.array(len(tokens), np.int32)


def _kept_leaves(params: nnx.State) -> tuple[list[_Kept], PyTreeDef]:
    """Every leaf as bfloat16, and how they make up `params`."""
    leaves, tree = jax.tree.flatten(params)
    kept = []
    for leaf in leaves:
        narrow = leaf.astype(jnp.bfloat16)
        pieces = {shard.index: np.asarray(shard.data) for shard in narrow.addressable_shards}
        kept.append(_Kept(narrow.shape, narrow.sharding, pieces))
    return kept, tree


def _mean_hidden(
    graph: nnx.GraphDef, params: nnx.State, tokens: Int32[Array, "1 L"], length: Int32[Array, ""]
) -> Float32[Array, " D"]:
    decoder = nnx.merge(graph, params)
    positions = jnp.arange(tokens.shape[1])[None]
    real = (positions < length).astype(jnp.int32)
    hidden = decoder(tokens, positions, packed_attend(real, jnp.zeros_like(real)))[0].astype(jnp.float32)
    return jnp.sum(hidden * real[0, :, None], axis=0) / length
