"""Sequential tests of a solve rate: how many replies are enough to say "too easy", "too hard" or "about right".

Wald's sequential probability ratio test between two solve rates; what lies between them is the indifference zone, where either
answer is fine. `LevelSearch` bisects the levels with it. Pure arithmetic: no environment, no model. Left out: the estimate of
the solve rate, which needs fresh replies, because the ones a search stopped on are biased.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from env_synth.config import ModelStagesConfig


class Side(StrEnum):
    """On which side of an indifference zone a solve rate lies."""

    BELOW = "below"
    ABOVE = "above"


@dataclass(frozen=True)
class SequentialTest:
    """Solve rate <= `low` against >= `high`, each error at most about `error` (Wald 1945: log((1 - error) / error) bounds)."""

    low: float
    high: float
    error: float

    def decide(self, solved: int, replies: int) -> Side | None:
        """The side that the likelihood ratio has reached after `replies`, of which `solved` were right; None: go on."""
        ratio = solved * math.log(self.high / self.low) + (replies - solved) * math.log((1 - self.high) / (1 - self.low))
        bound = math.log((1 - self.error) / self.error)
        if ratio >= bound - 1e-12:
            return Side.ABOVE
        return Side.BELOW if ratio <= -bound + 1e-12 else None

    def first_decision(self, outcomes: Iterable[bool]) -> tuple[Side | None, int]:
        """(the first side reached, replies it took); (None, all of them) if none was reached."""
        solved = count = 0
        for outcome in outcomes:
            solved, count = solved + outcome, count + 1
            side = self.decide(solved, count)
            if side is not None:
                return side, count
        return None, count


def fixed_sample_size(low: float, high: float, error: float, most: int = 5000) -> tuple[int, int]:
    """(replies, threshold) of the smallest fixed-sample test with both errors at most `error`: "above" from threshold on.

    Exact binomial tails. Raises ValueError when `most` replies are not enough.
    """
    for replies in range(1, most + 1):
        threshold = next(
            (count for count in range(replies + 2) if upper_tail(count, replies, low) <= error),
            replies + 1,
        )
        if 1.0 - upper_tail(threshold, replies, high) <= error:
            return replies, threshold
    raise ValueError(f"no test of {low} against {high} with errors of {error} in {most} replies")


def upper_tail(successes: int, trials: int, rate: float) -> float:
    """Probability of at least `successes` in `trials` at `rate`, exact."""
    return math.fsum(
        math.comb(trials, count) * rate**count * (1 - rate) ** (trials - count) for count in range(successes, trials + 1)
    )


# --- the level --------------------------------------------------------------------------------------------------------


class LevelSearch:
    """Which level has a solve rate near the target? Bisection over the levels, a sequential test at each.

    Ask `level` for where to try next, `add` what came of it, until `level` is None; then `chosen` is a level, or `refusal`
    says why there is none ("too_hard": level 0 is below the hard zone; "too_easy": the top is above the easy zone). `other` is
    the level next to the chosen one across the zone, where one is above it and one below. It may only refuse or choose: how
    often the chosen level is solved is for fresh replies to say. A level that stays undecided for `search_replies` lies in the
    zone around the target and is chosen.
    """

    def __init__(self, max_level: int, settings: ModelStagesConfig) -> None:
        self._settings = settings
        self._top = max_level
        self._above, self._below = -1, max_level + 1  # highest level known above the zone, lowest known below it
        self._outcomes: dict[int, list[bool]] = {}
        self._test = SequentialTest(*settings.search_zone, settings.search_error)
        self._last = False  # whether the test for a refusal is under way
        self.chosen: int | None = None
        self.other: int | None = None
        self.refusal = ""
        self.level: int | None = self._middle()

    def add(self, outcomes: Iterable[bool]) -> None:
        """Right and wrong replies at `level`, one an instance, in order."""
        assert self.level is not None, "the search has ended"
        level, seen = self.level, self._outcomes.setdefault(self.level, [])
        seen += outcomes
        side, _ = self._test.first_decision(seen)
        if side is None and len(seen) < self._settings.search_replies:
            return
        if self._last:
            self._finish(level, side)
        elif side is None:
            self._choose(level)
        else:
            if side is Side.ABOVE:
                self._above = level
            else:
                self._below = level
            self._move()

    @property
    def replies(self) -> int:
        """Replies asked for so far."""
        return sum(map(len, self._outcomes.values()))

    def tally(self) -> dict[str, str]:
        """Level -> "solved of replies", for the record."""
        return {str(level): f"{sum(seen)} of {len(seen)}" for level, seen in sorted(self._outcomes.items())}

    def _middle(self) -> int:
        return (self._above + self._below) // 2

    def _move(self) -> None:
        if self._below - self._above > 1:
            self.level = self._middle()
        elif self._above == -1:
            self._refuse_at(0, self._settings.hard_zone)
        elif self._below == self._top + 1:
            self._refuse_at(self._top, self._settings.easy_zone)
        else:
            ends = (self._above, self._below)
            self._choose(min(ends, key=lambda level: (abs(self._mean(level) - self._target), level)))
            self.other = next(level for level in ends if level != self.chosen)

    def _refuse_at(self, level: int, zone: tuple[float, float]) -> None:
        self._last, self.level = True, level
        self._test = SequentialTest(*zone, self._settings.search_error)
        self.add([])  # what was seen at this level counts here too

    def _finish(self, level: int, side: Side | None) -> None:
        if level == 0 and side is Side.BELOW and self._above == -1:
            self.refusal, self.level = "too_hard", None
        elif level == self._top and side is Side.ABOVE and self._below == self._top + 1:
            self.refusal, self.level = "too_easy", None
        else:
            self._choose(level)

    def _choose(self, level: int) -> None:
        self.chosen, self.level = level, None

    @property
    def _target(self) -> float:
        return self._settings.target_solve_rate

    def _mean(self, level: int) -> float:
        """Posterior mean of the solve rate under a uniform prior."""
        seen = self._outcomes[level]
        return (sum(seen) + 1) / (len(seen) + 2)
