"""A rollout request as the JSON of SGLang's /generate, and its answer as completions, nothing in it taken on trust.

Left out: sending (`sglang_client.py`), choosing a server (`sglang_routing.py`).
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from evo_jax.policy.stops import StopMatcher
from evo_jax.policy.tokenizer import Tokenizer
from evo_jax.rollouts.pool import Draft
from evo_jax.rollouts.protocol import Completion, FinishReason, RolloutRequest
from evo_jax.rollouts.sglang_client import ServerError

WHOLE_VOCABULARY = -1
FINISH_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length"}


class WrongWeights(ServerError):
    """A server answered with weights other than those it was given; it must not be asked again until it has them."""


def generate_body(request: RolloutRequest, eos_token_ids: Collection[int]) -> dict[str, Any]:
    """The body that asks for `request`: one call, one group.

    Everything that shapes the distribution is said, so that no default of a server or of its generation_config.json can.
    """
    sampling = request.sampling
    return {
        "input_ids": list(request.prompt_tokens),
        "sampling_params": {
            "n": request.group_size,
            "max_new_tokens": sampling.max_completion_tokens,
            "temperature": sampling.temperature,
            "top_k": sampling.top_k or WHOLE_VOCABULARY,
            "top_p": sampling.top_p,
            "min_p": 0.0,
            "frequency_penalty": 0.0,
            "presence_penalty": 0.0,
            "repetition_penalty": 1.0,
            "stop": list(sampling.stop),
            "stop_token_ids": sorted(eos_token_ids),
        },
        "return_logprob": True,
    }


def read_group(
    answer: Any, request: RolloutRequest, *, tokenizer: Tokenizer, eos_token_ids: Collection[int], label: str, version: int
) -> list[Completion]:
    """The completions in the answer to `generate_body(request)`, sampled under the weights named `label`: policy `version`.

    Tokens go through the embedded engine's own stop rule, so that a completion ends at the same token and its text is cut at
    the same place. Raises WrongWeights for any other weight version, ServerError for an answer that is not `group_size` whole
    completions.
    """
    members = [answer] if isinstance(answer, dict) else answer
    if not isinstance(members, list) or len(members) != request.group_size:
        count = len(members) if isinstance(members, list) else type(members).__name__
        raise ServerError(f"request {request.request_id}: {request.group_size} completions were asked for, got {count}")
    drafts = []
    for member in members:
        try:
            drafts.append(_read_member(member, request, tokenizer, frozenset(eos_token_ids), label))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ServerError(f"request {request.request_id}: an answer that can't be read ({error!r})") from error
    return [draft.complete(tokenizer, version) for draft in drafts]


def _read_member(
    member: dict[str, Any], request: RolloutRequest, tokenizer: Tokenizer, eos_token_ids: Collection[int], label: str
) -> Draft:
    meta = member["meta_info"]
    # Newer servers tell the version span by span, which shows an update in the middle of a completion.
    versions = {meta["weight_version"], *(span["version"] for span in meta.get("weight_versions", ()))}
    if versions != {label}:
        raise WrongWeights(
            f"request {request.request_id}: sampled under weight version {', '.join(sorted(map(str, versions)))}, "
            f"the server was given {label}"
        )
    reason = meta["finish_reason"]["type"]
    if reason not in FINISH_REASONS:
        raise ServerError(f"request {request.request_id}: ended by {reason}: {meta['finish_reason'].get('message', '')}")
    pairs = meta["output_token_logprobs"]
    if len(pairs) != meta["completion_tokens"] or not pairs:
        raise ServerError(f"request {request.request_id}: {meta['completion_tokens']} tokens with {len(pairs)} log-probs")
    draft = Draft(request, StopMatcher(tokenizer.decode, request.sampling.stop))
    for logprob, token, *_ in pairs:
        if not isinstance(token, int) or token < 0 or not math.isfinite(logprob) or logprob > 1e-4:
            raise ServerError(f"request {request.request_id}: token {token!r} with log-prob {logprob!r}")
        if draft.push(token, min(logprob, 0.0), eos_token_ids):
            break
    if draft.finish_reason == "abort":
        # The server ended it by a rule of its own: a stop string seen in special tokens, or its context is full.
        draft.finish_reason = FINISH_REASONS[reason]
    return draft
