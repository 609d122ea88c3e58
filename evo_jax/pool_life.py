"""How an environment's level and its share of the prompts follow the policy's solve rate: pure rules, no I/O.

A round is `evolve.round_steps` updates. Two rounds above `raise_level_above` raise the level, at the top the environment is
mastered; two below `lower_level_below` lower it, at the bottom it is too hard (METHOD.md, pool life). Prompts go to the
environments with the most to learn from, by the same measure that rewards the proposer. Left out: who is in the pool, and
writing decisions down (`pool.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from env_synth.admission.learnability import expected_learnability
from env_synth.registry import EnvironmentRecord
from evo_jax.config import EvolveConfig

LEAST_LEARNABILITY = 0.05  # no active environment is starved: it would never be seen to become learnable


class Move(StrEnum):
    """What becomes of an environment at the end of a round."""

    UP = "level up"
    DOWN = "level down"
    MASTERED = "mastered"
    TOO_HARD = "too hard"


@dataclass(frozen=True)
class Standing:
    """How the policy does on one environment at its present level.

    solved, replies: of the round under way. last_solved, last_replies: of the last round that had enough replies.
    rounds_above, rounds_below: how many such rounds in a row lay above or below the window.
    """

    solved: int = 0
    replies: int = 0
    last_solved: int = 0
    last_replies: int = 0
    rounds_above: int = 0
    rounds_below: int = 0

    def add(self, solved: int, replies: int) -> Standing:
        """With more replies of the round under way."""
        return replace(self, solved=self.solved + solved, replies=self.replies + replies)

    def end_round(self, evolve: EvolveConfig) -> Standing:
        """After the round; one with fewer than `min_round_replies` goes on into the next."""
        if self.replies < evolve.min_round_replies:
            return self
        rate = self.solved / self.replies
        return Standing(
            last_solved=self.solved,
            last_replies=self.replies,
            rounds_above=self.rounds_above + 1 if rate > evolve.raise_level_above else 0,
            rounds_below=self.rounds_below + 1 if rate < evolve.lower_level_below else 0,
        )

    def move(self, level: int, top: int, evolve: EvolveConfig) -> Move | None:
        """What the rounds so far call for at `level` of 0..`top`."""
        if self.rounds_above >= evolve.rounds_to_move:
            return Move.UP if level < top else Move.MASTERED
        if self.rounds_below >= evolve.rounds_to_move:
            return Move.DOWN if level > 0 else Move.TOO_HARD
        return None

    @property
    def learnability(self) -> float:
        """E[Q(p)] of the replies seen at this level; that of the uniform prior where there are none."""
        solved, replies = (self.last_solved, self.last_replies) if self.last_replies else (self.solved, self.replies)
        return expected_learnability(solved, replies)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `Standing(**value)` gives the equal record back."""
        return asdict(self)


def sampling_weights(
    active: Sequence[EnvironmentRecord], seed_floor: float, learnability: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Environment id -> share of the prompts; shares sum to 1 and the seeds together keep at least `seed_floor`.

    Shares are in proportion to `learnability` (by environment id), equal where it is None.
    """
    identities = [record.environment_id for record in active]
    worth = {name: 1.0 if learnability is None else max(LEAST_LEARNABILITY, learnability[name]) for name in identities}
    seeds = [record.environment_id for record in active if record.origin == "seed"]
    others = [record.environment_id for record in active if record.origin != "seed"]
    seed_worth, other_worth = (sum(worth[identity] for identity in group) for group in (seeds, others))
    seed_share = seed_worth / (seed_worth + other_worth)
    if seeds and others:
        seed_share = max(seed_share, seed_floor)
    weights = {identity: seed_share * worth[identity] / seed_worth for identity in seeds}
    return weights | {identity: (1.0 - seed_share) * worth[identity] / other_worth for identity in others}
