"""The frozen records that flow round the ring, and the dimension key; no behaviour beyond what a record knows of itself.

Dimension key (used in every jaxtyping annotation of this package):

    P  prompts of a batch              L  padded tokens of a completion
    G  completions of a prompt         T  tokens of a packed row
    B  rollouts, P * G                 N  target slots of a packed row
    R  packed rows                     V  vocabulary
    D  width                           H  heads          K  head size

PromptBatch -> RolloutBatch -> ScoredBatch -> TrainBatch -> metrics. Each step makes a new record; no field is filled later.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int32


class Role(StrEnum):
    """The two roles of the one policy. The order of members is the order of per-role arrays."""

    SOLVER = "solver"
    PROPOSER = "proposer"

    @property
    def position(self) -> int:
        """Where this role stands in per-role arrays."""
        return list(Role).index(self)


@dataclass(frozen=True)
class Prompt:
    """One prompt as the policy sees it: the chat-formatted `text` and its tokens.

    `environment_id` and `instance_id` name what a solver prompt was made from; for a proposer prompt `instance_id` names
    the request and `environment_id` is empty.
    """

    role: Role
    text: str
    token_ids: tuple[int, ...]
    environment_id: str
    instance_id: str
    level: int


@dataclass(frozen=True)
class PromptBatch:
    """P prompts of one role, each to be completed `group_size` times."""

    prompts: tuple[Prompt, ...]
    group_size: int


@dataclass(frozen=True)
class RolloutBatch:
    """The completions of a PromptBatch, group after group: rollout b belongs to prompt b // group_size.

    `rollout_logprobs` are those of the sampling distribution (temperature applied, before top-k and top-p are cut off), each
    token's under the weights of its entry in `policy_versions`, which never fall along a completion; entries at or past
    `lengths` are padding. A truncated completion hit its token limit.
    """

    prompts: tuple[Prompt, ...]
    group_size: int
    texts: tuple[str, ...]
    tokens: Int32[np.ndarray, "B L"]
    lengths: Int32[np.ndarray, " B"]
    rollout_logprobs: Float32[np.ndarray, "B L"]
    truncated: Bool[np.ndarray, " B"]
    policy_versions: Int32[np.ndarray, "B L"]

    @property
    def oldest_versions(self) -> Int32[np.ndarray, " B"]:
        """The oldest version behind each rollout: that of its first token."""
        return self.policy_versions[:, 0]

    def prompt_of(self, rollout: int) -> Prompt:
        """The prompt that rollout number `rollout` completes."""
        return self.prompts[rollout // self.group_size]

    def to_json(self) -> dict[str, Any]:
        """JSON values; float32 survive exactly as decimal float64."""
        arrays = {name: value.tolist() for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        prompts = [{**vars(prompt), "token_ids": list(prompt.token_ids)} for prompt in self.prompts]
        return {**arrays, "prompts": prompts, "group_size": self.group_size, "texts": list(self.texts)}

    @staticmethod
    def from_json(value: dict[str, Any]) -> RolloutBatch:
        """The batch that `to_json` was called on."""
        prompts = tuple(
            Prompt(**{**prompt, "role": Role(prompt["role"]), "token_ids": tuple(prompt["token_ids"])})
            for prompt in value["prompts"]
        )
        shape = (len(value["texts"]), -1)
        return RolloutBatch(
            prompts=prompts,
            group_size=value["group_size"],
            texts=tuple(value["texts"]),
            tokens=np.array(value["tokens"], np.int32).reshape(shape),
            lengths=np.array(value["lengths"], np.int32),
            rollout_logprobs=np.array(value["rollout_logprobs"], np.float32).reshape(shape),
            truncated=np.array(value["truncated"], np.bool_),
            policy_versions=np.array(value["policy_versions"], np.int32).reshape(shape),
        )


@dataclass(frozen=True)
class ScoredBatch:
    """Rollouts with their rewards; where `valid` is False the environment or the host failed and the reward means nothing.

    `host_faults` marks the invalid ones that say nothing of the environment: they never count against it.
    """

    rollouts: RolloutBatch
    rewards: Float32[np.ndarray, " B"]
    valid: Bool[np.ndarray, " B"]
    host_faults: Bool[np.ndarray, " B"]


@dataclass(frozen=True)
class AdvantageBatch:
    """Scored rollouts with group-relative advantages; `kept` is False for members whose tokens carry no loss.

    A member is not kept when it is invalid, when its group has fewer than two valid members, when its group's rewards are
    all equal (zero variance), or when truncated completions are masked by option.
    """

    scored: ScoredBatch
    advantages: Float32[np.ndarray, " B"]
    kept: Bool[np.ndarray, " B"]


@dataclass(frozen=True)
class TrainBatch:
    """Packed rows: every prompt once, followed by the completions of its group that are trained on.

    Token i of a row attends token j <= i of the same group where j is of the prompt (`completion_ids` 0) or of the same
    completion; `group_ids` 0 is padding. Targets stand at the front of N slots: slot n predicts `targets[r, n]` from the hidden
    state at `sources[r, n]` (the prompt's last token for a completion's first). `loss_weights` carry the aggregation (1 for a
    token mean, 1 / length for a sequence mean) and are 0 for empty slots; `role_denominators` are the counts by which the
    per-role sums of the whole update are divided. An update may consist of several TrainBatches of different row lengths T.
    """

    tokens: Int32[np.ndarray, "R T"]
    positions: Int32[np.ndarray, "R T"]
    group_ids: Int32[np.ndarray, "R T"]
    completion_ids: Int32[np.ndarray, "R T"]
    sources: Int32[np.ndarray, "R N"]
    targets: Int32[np.ndarray, "R N"]
    loss_weights: Float32[np.ndarray, "R N"]
    advantages: Float32[np.ndarray, "R N"]
    rollout_logprobs: Float32[np.ndarray, "R N"]
    roles: Int32[np.ndarray, "R N"]
    role_denominators: Float32[np.ndarray, " 2"]
