"""The rollout engine of a process whose job samples from servers, where another process is the one that talks to them.

All that is left for it is its part in making the parameters whole, tensor by tensor, while that one publishes them. Left out:
the servers, the transport and the sampling (`sglang.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flax import nnx

from evo_jax.policy.huggingface_writing import help_saving
from evo_jax.rollouts.protocol import Completion, OnGroup, Progress, RolloutError, RolloutRequest, RolloutStats


class ServersElsewhere:
    """A `RolloutEngine` that helps to load weights and samples nothing."""

    def __init__(self, dtype: str) -> None:
        """`dtype` is that which the transport stores weights as."""
        self._dtype = dtype
        self.policy_version = -1
        self.stats = RolloutStats()

    def load_weights(self, params: nnx.State, policy_version: int) -> None:
        """Takes part in publishing; returns before any server has the weights."""
        help_saving(params, dtype=self._dtype)
        self.policy_version = policy_version

    def generate(
        self,
        requests: Sequence[RolloutRequest],
        on_progress: Progress | None = None,
        *,
        on_group: OnGroup | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> list[list[Completion]]:
        """Raises RolloutError: this process knows no server."""
        raise RolloutError("the servers of this job are asked by process 0 alone")

    def close(self) -> None:
        """Nothing is held."""
