"""What process 0 tells the others to do with it: one record an act, carried out by every process at the same time.

The acts are those that touch arrays spread over the processes: sampling from the embedded engine, embedding, updates, weights,
checkpoints. Everything else (data, admission, rewards, metrics, talking to servers) process 0 does alone, so every process
takes part in the same calls by construction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evo_jax.records import TrainBatch
from evo_jax.rollouts.protocol import RolloutRequest


@dataclass(frozen=True)
class Begin:
    """Process 0 holds the run directory: build your parts, new or from the newest checkpoint."""

    resume: bool


@dataclass(frozen=True)
class Generate:
    """Complete these requests."""

    requests: tuple[RolloutRequest, ...]


@dataclass(frozen=True)
class Embed:
    """Place these texts for N2."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class LoadWeights:
    """The engine samples from the present parameters from now on."""

    policy_version: int


@dataclass(frozen=True)
class Update:
    """One call of the learner; the reference policy is what every process was started with."""

    batches: tuple[TrainBatch, ...]


@dataclass(frozen=True)
class Save:
    """A checkpoint of the present state."""

    step: int
    progress: dict[str, Any]


@dataclass(frozen=True)
class FinishSave:
    """Wait for the save under way, if there is one."""


@dataclass(frozen=True)
class AskSignals:
    """Every process says which signal it was sent, 0 for none."""


@dataclass(frozen=True)
class End:
    """Nothing more will come; every process exits with `code`. `error` says why where process 0 failed."""

    code: int = 0
    error: str = ""


type Act = Begin | Generate | Embed | LoadWeights | Update | Save | FinishSave | AskSignals | End
