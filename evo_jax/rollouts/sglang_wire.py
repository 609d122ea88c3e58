"""A rollout request as the JSON of SGLang's /generate, and its answer as completions, nothing in it taken on trust.

Left out: sending (`sglang_client.py`), choosing a server (`sglang_routing.py`).
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from evo_jax.policy.tokenizer import Tokenizer
from evo_jax.rollouts.pool import Draft
from evo_jax.rollouts.protocol import Completion, FinishReason, RolloutRequest
from evo_jax.rollouts.sglang_client import ServerError

WHOLE_VOCABULARY = -1
FINISH_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length"}


class WrongWeights(ServerError):
    """A server answered with weights other than those it was given; it must not be asked again until it has them."""


def generate_body(request: RolloutRequest, eos_token_ids: Collection[int]) -> dict[str, Any]:
    """The body that asks for `request`: one call, one group. Of a group that was begun, the open members are asked for, each
    from its last token on.

    Everything that shapes the distribution is said, so that no default of a server or of its generation_config.json can.
    """
    sampling = request.sampling
    params = {
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
    }
    if not request.begun:
        return {"input_ids": list(request.prompt_tokens), "sampling_params": params, "return_logprob": True}
    begun = [request.begun[member].tokens.tolist() for member in request.open_members]
    left = [sampling.max_completion_tokens - len(tokens) for tokens in begun]
    return {
        "input_ids": [[*request.prompt_tokens, *tokens] for tokens in begun],
        "sampling_params": [{**params, "n": 1, "max_new_tokens": count} for count in left],
        "return_logprob": True,
    }


@dataclass(frozen=True)
class Reading:
    """What an answer is read with: the policy's end tokens, and the weights that must have been sampled, by the name they have
    among the servers and by policy version."""

    tokenizer: Tokenizer
    eos_token_ids: Collection[int]
    label: str
    version: int


def read_group(answer: Any, request: RolloutRequest, reading: Reading, *, may_be_aborted: bool = False) -> list[Completion]:
    """The group in the answer to `generate_body(request)`, with what was begun of it.

    Tokens go through the embedded engine's own stop rule, so that a completion ends at the same token and its text is cut at
    the same place. Members that the server was told to abort (`may_be_aborted`) come back as far as they are. Raises
    WrongWeights for any other weight version, ServerError for an answer that does not have every member that was asked for.
    """
    members = [answer] if isinstance(answer, dict) else answer
    asked = request.open_members
    if not isinstance(members, list) or len(members) != len(asked):
        count = len(members) if isinstance(members, list) else type(members).__name__
        raise ServerError(f"request {request.request_id}: {len(asked)} completions were asked for, got {count}")
    found = dict(enumerate(request.begun))
    for place, member in zip(asked, members, strict=True):
        draft = Draft.of(request, place, reading.tokenizer)
        try:
            _read_member(member, draft, reading, may_be_aborted=may_be_aborted)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ServerError(f"request {request.request_id}: an answer that can't be read ({error!r})") from error
        found[place] = draft.complete(reading.tokenizer)
    return [found[place] for place in range(request.group_size)]


def _read_member(member: dict[str, Any], draft: Draft, reading: Reading, *, may_be_aborted: bool) -> None:
    """Pushes what the server sampled."""
    request, label = draft.request, reading.label
    meta = member["meta_info"]
    # Newer servers tell the version span by span, which shows an update in the middle of a completion.
    versions = {meta["weight_version"], *(span["version"] for span in meta.get("weight_versions", ()))}
    if versions != {label}:
        raise WrongWeights(
            f"request {request.request_id}: sampled under weight version {', '.join(sorted(map(str, versions)))}, "
            f"the server was given {label}"
        )
    reason = meta["finish_reason"]["type"]
    is_aborted = reason == "abort" and may_be_aborted
    if reason not in FINISH_REASONS and not is_aborted:
        raise ServerError(f"request {request.request_id}: ended by {reason}: {meta['finish_reason'].get('message', '')}")
    # Of an aborted one any beginning will do, none if it still waited.
    pairs = meta.get("output_token_logprobs", []) if is_aborted else meta["output_token_logprobs"]
    if not is_aborted and (len(pairs) != meta["completion_tokens"] or not pairs):
        raise ServerError(f"request {request.request_id}: {meta['completion_tokens']} tokens with {len(pairs)} log-probs")
    for logprob, token, *_ in pairs:
        if not isinstance(token, int) or token < 0 or not math.isfinite(logprob) or logprob > 1e-4:
            raise ServerError(f"request {request.request_id}: token {token!r} with log-prob {logprob!r}")
        if draft.push(token, min(logprob, 0.0), reading.version, reading.eos_token_ids):
            break
    if draft.finish_reason == "abort" and not is_aborted:
        # The server ended it by a rule of its own: a stop string seen in special tokens, or its context is full.
        draft.finish_reason = FINISH_REASONS[reason]
