"""Which server gets the next group: the one that has seen its prompt's beginning, unless another is much less busy.

The memory of prompts is ours, an estimate of what each server's prefix cache holds: chained hashes of blocks of tokens,
forgotten when new weights empty the caches. Left out: asking the servers; moving a group once it is sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

BLOCK_TOKENS = 16
REMEMBERED_BLOCKS = 1 << 16


def block_hashes(tokens: Sequence[int]) -> list[bytes]:
    """One hash for every full block of `tokens`, each over all tokens up to the block's end: equal hashes, equal prefixes."""
    digest = hashlib.blake2b(digest_size=8)
    hashes = []
    for end in range(BLOCK_TOKENS, len(tokens) + 1, BLOCK_TOKENS):
        digest.update(repr(tuple(tokens[end - BLOCK_TOKENS : end])).encode())
        hashes.append(digest.copy().digest())
    return hashes


@dataclass
class Seat:
    """What routing knows of one server: completions in flight there, and the prompt blocks it was sent since the last
    weights."""

    capacity: int
    load: int = 0
    _blocks: dict[bytes, None] = field(default_factory=dict)
    room: int = field(init=False)  # what the server takes; below `capacity` after it turned a group away

    def __post_init__(self) -> None:
        self.room = self.capacity

    def has_room(self, completions: int) -> bool:
        """Whether the group fits beside what is running; a group larger than the capacity fits when nothing is."""
        return self.load == 0 or self.load + completions <= self.room

    def shared_tokens(self, hashes: Sequence[bytes]) -> int:
        """Tokens at the beginning of a prompt with these `hashes` that this server has probably cached."""
        count = 0
        for block in hashes:
            if block not in self._blocks:
                break
            count += 1
        return count * BLOCK_TOKENS

    def add(self, completions: int, hashes: Sequence[bytes]) -> None:
        """A group was sent."""
        self.load += completions
        self._blocks |= dict.fromkeys(hashes)
        while len(self._blocks) > REMEMBERED_BLOCKS:
            del self._blocks[next(iter(self._blocks))]

    def remove(self, completions: int) -> None:
        """A group came back, or was given up."""
        self.load -= completions

    def turned_away(self, completions: int) -> None:
        """The server had no room for a group of so many beside its load: until new weights it is sent no more than it had."""
        self.room = min(self.room, max(completions, self.load))

    def forget(self) -> None:
        """The server has new weights: its cache is empty, and it may have room again."""
        self._blocks.clear()
        self.room = self.capacity


def choose(seats: Sequence[Seat], hashes: Sequence[bytes], completions: int) -> int | None:
    """The index in `seats` of the server for a group, None when none has room.

    A cached prefix wins unless its server has half a server's capacity more to do than the least busy one; then, and between
    equals, the least busy wins, the earlier one in a tie.
    """
    free = [index for index, seat in enumerate(seats) if seat.has_room(completions)]
    if not free:
        return None
    least = min(seats[index].load for index in free)

    def preference(index: int) -> tuple[int, int, int]:
        seat = seats[index]
        near = seat.load - least <= seat.capacity // 2
        return (-seat.shared_tokens(hashes) if near else 1, seat.load, index)

    return min(free, key=preference)
