"""What a rollout engine is: requests in, completions out, in order; no arrays of the accelerator cross this seam.

A request fixes its own randomness, so that its completions depend neither on what they were batched with nor on when
they ran. Sampling can be stopped and gone on with, under other weights too: an unfinished completion keeps its tokens, each
with its log-prob and the version it was sampled under, and `RolloutRequest.begun` hands it back. Left out: how tokens are
made (`embedded.py`), how records become batches (`batches.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from jaxtyping import Float32, Int32

from evo_jax.policy.model_config import ModelConfig

FinishReason = Literal["stop", "length", "abort"]

# (completions finished, completions asked for, tokens generated so far) of one `generate` call.
Progress = Callable[[int, int, int], None]
# Told of every group that is finished: its place among the requests, and its completions.
OnGroup = Callable[[int, "list[Completion]"], None]


class RolloutError(Exception):
    """A request or engine setting that cannot be served; names the request, the limit and what to change."""


@dataclass(frozen=True)
class SamplingParams:
    """How the tokens of a request are drawn.

    `temperature` 0 takes the likeliest token (its log-probs are those of temperature 1). `top_k` 0 keeps the whole
    vocabulary, and tokens as likely as the last one kept are kept too. A completion ends at an end-of-sequence token, at
    the token that completes one of the `stop` strings, or after `max_completion_tokens` tokens.
    """

    max_completion_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_completion_tokens < 1:
            raise RolloutError(f"max_completion_tokens={self.max_completion_tokens} must be at least 1")
        if not self.temperature >= 0.0:
            raise RolloutError(f"temperature={self.temperature} must be 0 (the likeliest token) or above")
        if self.top_k < 0:
            raise RolloutError(f"top_k={self.top_k} must be 0 (the whole vocabulary) or above")
        if not 0.0 < self.top_p <= 1.0:
            raise RolloutError(f"top_p={self.top_p} must lie in (0, 1]")
        if any(not text for text in self.stop):
            raise RolloutError("a stop string is empty: it would end every completion before its first token")


@dataclass(frozen=True)
class RolloutRequest:
    """`group_size` completions of one prompt. Completion g is drawn with the key fold_in(key(seed), g), and its token
    number n with fold_in of that and n; `seed` in [0, 2^31).

    `begun` is empty, or what a stopped `generate` brought for this request: aborted completions are gone on with from their
    last token, finished ones come back as they are.
    """

    request_id: str
    prompt_tokens: tuple[int, ...]
    group_size: int
    seed: int
    sampling: SamplingParams
    begun: tuple[Completion, ...] = ()

    def __post_init__(self) -> None:
        if not self.prompt_tokens:
            raise RolloutError(f"request {self.request_id}: the prompt has no tokens")
        if self.group_size < 1:
            raise RolloutError(f"request {self.request_id}: group_size={self.group_size} must be at least 1")
        if not 0 <= self.seed < 2**31:
            raise RolloutError(f"request {self.request_id}: seed={self.seed} must lie in [0, 2^31)")
        if self.begun and len(self.begun) != self.group_size:
            raise RolloutError(f"request {self.request_id}: {len(self.begun)} of {self.group_size} completions were begun")

    @property
    def open_members(self) -> list[int]:
        """The members of the group that are not finished."""
        reasons = [completion.finish_reason for completion in self.begun] or ["abort"] * self.group_size
        return [member for member, reason in enumerate(reasons) if reason == "abort"]


@dataclass(frozen=True)
class Completion:
    """One completion of a request.

    `tokens` end with the end-of-sequence token if one was sampled, or with the token that completed a stop string; `text` is
    decoded without special tokens and cut in front of the stop string. `logprobs` are natural
    logarithms under the temperature distribution over the whole vocabulary, before top-k and top-p, each under the weights of
    its token's entry in `policy_versions`, which never fall. `finish_reason`: 'stop' at an end-of-sequence token or stop
    string, 'length' at the token limit, 'abort' when sampling was stopped before its end.
    """

    tokens: Int32[np.ndarray, " n"]
    logprobs: Float32[np.ndarray, " n"]
    text: str
    finish_reason: FinishReason
    policy_versions: Int32[np.ndarray, " n"]

    @property
    def policy_version(self) -> int:
        """The oldest version that a token was sampled under; -1 where there is no token."""
        return int(self.policy_versions[0]) if len(self.policy_versions) else -1


@dataclass(frozen=True)
class RolloutStats:
    """What the last `generate` call did. `idle_fraction` is the share of decoded slot-steps that produced no kept token;
    `prompt_padding_fraction` that of prefilled positions that were padding; `compiles` counts programs built by it."""

    completions: int = 0
    generated_tokens: int = 0
    prompt_tokens: int = 0
    decode_steps: int = 0
    dispatches: int = 0
    compiles: int = 0
    idle_fraction: float = 0.0
    prompt_padding_fraction: float = 0.0
    compile_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    total_s: float = 0.0


class RolloutEngine(Protocol):
    """Anything that completes prompts. One caller at a time."""

    @property
    def policy_version(self) -> int:
        """Version of the weights that the next `generate` samples from; -1 before the first `load_weights`."""
        ...

    @property
    def stats(self) -> RolloutStats:
        """Of the last `generate` call."""
        ...

    def load_weights(self, params: Any, policy_version: int) -> None:
        """Sample from `params` (the decoder's nnx parameter state) from now on; the caller keeps its arrays."""
        ...

    def generate(
        self,
        requests: Sequence[RolloutRequest],
        on_progress: Progress | None = None,
        *,
        on_group: OnGroup | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> list[list[Completion]]:
        """For every request, in order, its `group_size` completions, in order. Raises RolloutError before any work.

        `should_stop` is asked again and again: once it says so, what is unfinished comes back aborted, as far as it is.
        """
        ...

    def close(self) -> None:
        """Free what the engine holds; it must not be used again."""
        ...


def require_fits(request: RolloutRequest, model: ModelConfig, max_prompt_tokens: int) -> None:
    """Raises RolloutError for a prompt longer than the engine or the model takes, or outside its vocabulary."""
    prompt, limit = len(request.prompt_tokens), request.sampling.max_completion_tokens
    if prompt > max_prompt_tokens:
        raise RolloutError(
            f"request {request.request_id}: the prompt has {prompt} tokens, the engine takes at most "
            f"max_prompt_tokens={max_prompt_tokens}; shorten the prompt or raise the limit"
        )
    if prompt + limit > model.max_positions:
        raise RolloutError(
            f"request {request.request_id}: {prompt} prompt tokens and up to {limit} more exceed the model's "
            f"{model.max_positions} positions"
        )
    if max(request.prompt_tokens) >= model.vocab_size or min(request.prompt_tokens) < 0:
        raise RolloutError(f"request {request.request_id}: a prompt token is outside [0, {model.vocab_size})")
