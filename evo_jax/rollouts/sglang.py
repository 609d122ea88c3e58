"""The SGLang engine: rollouts from one or many SGLang servers, which may run on other accelerators and machines.

What of the protocol SGLang can't keep, so that nobody builds on it: a completion is NOT fixed by its request. SGLang draws
from one random state for everything it decodes, and its sums depend on what is in the batch, so `RolloutRequest.seed` is not
used, and a run is not reproducible bit by bit; what is promised instead is that no group is lost or doubled, and that every
completion was sampled under the versions it names. Stopped, servers abort what they do and say how far they came; a group is
gone on with as a prompt of its own for every open member, prompt and tokens so far, which the server reads in under the
weights it then has. An engine that is closed brings nothing new. With `top_k`, exactly k tokens are kept: ties with the last
one are cut. All else holds: log-probs are those of the temperature
distribution before top-k and top-p (unless the server runs with SGLANG_RETURN_ORIGINAL_LOGPROB), temperature 0 is greedy with
the log-probs of temperature 1, and completions end and are cut by the embedded engine's own rule.

Left out: streaming, speculative decoding's options, LoRA adapters, servers behind a router (a router does not pass weights
on).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from evo_jax.policy.model_config import ModelConfig
from evo_jax.policy.tokenizer import Tokenizer
from evo_jax.rollouts.protocol import Completion, OnGroup, Progress, RolloutError, RolloutRequest, RolloutStats, require_fits
from evo_jax.rollouts.sglang_client import ServerUnreachable
from evo_jax.rollouts.sglang_dispatch import Dispatch, DispatchSettings
from evo_jax.rollouts.sglang_fleet import Fleet, FleetSettings, Server
from evo_jax.rollouts.sglang_wire import Reading, generate_body, read_group
from evo_jax.rollouts.weight_transport import PublishedWeights, WeightTransport


@dataclass(frozen=True)
class SGLangSettings:
    """The servers, how requests go to them, and the longest prompt that is taken, in tokens."""

    fleet: FleetSettings
    dispatch: DispatchSettings = field(default_factory=DispatchSettings)
    max_prompt_tokens: int = 512


class SGLangEngine:
    """A `RolloutEngine` over SGLang servers. Servers that it starts are started by the first `load_weights`, ended by
    `close`."""

    def __init__(self, config: ModelConfig, tokenizer: Tokenizer, transport: WeightTransport, settings: SGLangSettings) -> None:
        self._config, self._tokenizer, self._transport, self._settings = config, tokenizer, transport, settings
        self._eos_token_ids = tuple(tokenizer.eos_token_ids) or config.eos_token_ids
        self._fleet = Fleet(settings.fleet)
        self._weights: PublishedWeights | None = None
        self._closed = False
        self.stats = RolloutStats()

    @property
    def policy_version(self) -> int:
        """Version of the weights in use; -1 before the first `load_weights`."""
        return -1 if self._weights is None else self._weights.version

    def load_weights(self, params: Any, policy_version: int) -> None:
        """Publish the parameters and bring them to every server; returns when all that are left sample from them.

        Raises RolloutError (PolicyError where they can't be written) when that is no server; the engine then has no weights.
        """
        published = self._transport.publish(params, policy_version)
        self._weights = None
        self._fleet.load(published)
        self._transport.retire(published)
        self._weights = published

    def generate(
        self,
        requests: Sequence[RolloutRequest],
        on_progress: Progress | None = None,
        *,
        on_group: OnGroup | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> list[list[Completion]]:
        """Complete every request; see `RolloutEngine.generate`. Raises RolloutError also when no server is left."""
        if self._closed:
            raise RolloutError("the rollout engine is closed")
        if self._weights is None:
            raise RolloutError("the rollout engine has no weights yet: call load_weights first")
        for request in requests:
            # One token outside the vocabulary ends an SGLang server.
            require_fits(request, self._config, self._settings.max_prompt_tokens)
        began = time.perf_counter()
        weights = self._weights
        reading = Reading(self._tokenizer, frozenset(self._eos_token_ids), weights.label, weights.version)

        def ask(server: Server, request: RolloutRequest) -> list[Completion]:
            if server.client is None:
                raise ServerUnreachable(f"{server.name} is not running")
            body = generate_body(request, self._eos_token_ids)
            answer = server.client.call("/generate", body, timeout_s=self._settings.dispatch.request_timeout_s)
            return read_group(answer, request, reading, may_be_aborted=dispatch.is_stopping)

        dispatch = Dispatch(self._fleet, weights, self._settings.dispatch, ask, lambda: self._closed)
        results = dispatch.run(requests, on_progress, on_group, should_stop)
        before = [len(completion.tokens) for request in requests for completion in request.begun]
        done = [completion.finish_reason != "abort" for group in results for completion in group]
        self.stats = RolloutStats(
            completions=sum(done) - sum(request.group_size - len(request.open_members) for request in requests),
            generated_tokens=sum(len(completion.tokens) for group in results for completion in group) - sum(before),
            prompt_tokens=sum(len(request.prompt_tokens) for request in requests),
            total_s=time.perf_counter() - began,
        )
        return results

    def close(self) -> None:
        """End the servers that were started and remove the published weights; a `generate` elsewhere returns what it has."""
        self._closed = True
        self._fleet.close()
        self._transport.close()
        self._weights = None
