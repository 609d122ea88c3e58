"""Who sits where: completions waiting, seats of prompts, lanes of completions. Plain Python, no arrays, no clock.

A free lane takes, in this order: the next member of a prompt already seated in its tile; the next waiting group, at a free
seat; a member of a group that other tiles can't finish alone. Requests are begun in order. Left out: priorities, preemption.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Placement:
    """Completion `member` of request `request` begins in a lane; `seats_prompt` where its prompt must be brought first."""

    tile: int
    lane: int
    seat: int
    request: int
    member: int
    seats_prompt: bool


class Scheduler:
    """Deals the completions of requests 0..n-1, `members` of each, to `tiles` x `lanes` with `seats` prompts a tile."""

    def __init__(self, members: Sequence[Sequence[int]], *, tiles: int, lanes: int, seats: int) -> None:
        self._waiting = deque(request for request, wanted in enumerate(members) if wanted)
        self._pending = [deque(wanted) for wanted in members]
        self._started: list[int] = []  # requests begun that still have members without a lane
        self._seated: list[list[int | None]] = [[None] * seats for _ in range(tiles)]
        self._lanes: list[list[int | None]] = [[None] * lanes for _ in range(tiles)]  # seat of the lane, None if free

    @property
    def has_pending(self) -> bool:
        """Whether any completion still waits for a lane."""
        return bool(self._waiting or self._started)

    @property
    def is_idle(self) -> bool:
        """Whether no lane is taken."""
        return all(seat is None for lanes in self._lanes for seat in lanes)

    def waiting(self, count: int) -> list[int]:
        """The next `count` requests not begun yet, in order."""
        return [self._waiting[place] for place in range(min(count, len(self._waiting)))]

    def still_needs(self, request: int) -> bool:
        """Whether members of `request` still wait, so that its prompt may have to be seated (again)."""
        return bool(self._pending[request])

    def free(self, tile: int, lane: int) -> None:
        """The completion in a lane ended."""
        self._lanes[tile][lane] = None

    def place(self) -> list[Placement]:
        """Fill free lanes; a first round gives every tile a lane before any gets its second group."""
        placements: list[Placement] = []
        for may_seat in (1, len(self._seated[0])):
            for tile, lanes in enumerate(self._lanes):
                seated_now = 0
                for lane, taken in enumerate(lanes):
                    if taken is not None or not self.has_pending:
                        continue
                    seat, new = self._seat_for(tile, seated_now < may_seat)
                    if seat is None:
                        break
                    seated_now += new
                    placements.append(self._sit(tile, lane, seat, new))
        return placements

    def _seat_for(self, tile: int, may_seat: bool) -> tuple[int | None, bool]:
        """A seat of the tile whose prompt has members waiting, and whether that prompt has yet to be brought."""
        seated = self._seated[tile]
        for seat, request in enumerate(seated):
            if request is not None and self._pending[request]:
                return seat, False
        empty = [seat for seat in range(len(seated)) if seat not in self._lanes[tile]]
        if not empty or not may_seat or not self.has_pending:
            return None, False
        request = self._waiting.popleft() if self._waiting else self._started[0]
        if request not in self._started:
            self._started.append(request)
        seated[empty[0]] = request
        return empty[0], True

    def _sit(self, tile: int, lane: int, seat: int, new: bool) -> Placement:
        request = self._seated[tile][seat]
        assert request is not None
        member = self._pending[request].popleft()
        if not self._pending[request]:
            self._started.remove(request)
        self._lanes[tile][lane] = seat
        return Placement(tile, lane, seat, request, member, new)
