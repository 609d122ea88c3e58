"""Which instance is which: seeds and ids by hash, splits by content, and drawing instances of a split.

A seed is never another seed plus one: it is a hash of (environment_id, split, index, level). A split is decided by what the
solver would read, so that the same problem, or its mirror image, never stands on both sides. Deliberately left out: running
the environment (a maker is handed in).
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple, Protocol

from env_synth.contract import Failure, Instance, Split

HELD_OUT_MODULUS = 10  # one content in ten is held out
_TOKENS = re.compile(r"[0-9]+|[^\W\d_]+")
# Draws per asked instance before the split's space counts as exhausted; the held-out one is met once in ten draws.
_TRIES = {Split.TRAIN: 8, Split.HELD_OUT: 60}
_MIN_TRIES = {Split.TRAIN: 40, Split.HELD_OUT: 300}


class InstanceMaker(Protocol):
    """What draws need of an environment."""

    def make_instance(self, split: Split, index: int, level: int) -> Instance | Failure:
        """The instance with these coordinates."""
        ...


class Draw(NamedTuple):
    """Distinct instances of one split, and the index to go on from. Fewer than asked: the space is exhausted."""

    instances: tuple[Instance, ...]
    next_index: int


def instance_seed(environment_id: str, split: Split, index: int, level: int) -> int:
    """64 bits for random.Random, a hash of all four."""
    return int.from_bytes(_digest(environment_id, split, index, level)[:8])


def instance_id(environment_id: str, split: Split, index: int, level: int) -> str:
    """A name for the instance that is the same everywhere: 32 hexadecimal digits."""
    return _digest(environment_id, split, index, level)[8:24].hex()


def content_split(prompt: str) -> Split:
    """The side on which a rendered prompt belongs: a hash of its numbers and words, sorted, mod 10 == 0 is held out."""
    content = "\n".join(sorted(_TOKENS.findall(prompt)))
    number = int.from_bytes(hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()[:8])
    return Split.HELD_OUT if number % HELD_OUT_MODULUS == 0 else Split.TRAIN


def draw_instances(environment: InstanceMaker, split: Split, level: int, count: int, start_index: int = 0) -> Draw | Failure:
    """Up to `count` instances of `split` with distinct prompts, trying indices from `start_index` on.

    Gives up after a bounded number of tries and returns what it has. A failure of the environment ends the draw and is
    returned: an environment that fails on some seeds is faulty on all.
    """
    found: dict[str, Instance] = {}
    index = start_index
    last = start_index + max(_TRIES[split] * count, _MIN_TRIES[split])
    while len(found) < count and index < last:
        instance = environment.make_instance(split, index, level)
        index += 1
        if isinstance(instance, Failure):
            return instance
        if content_split(instance.prompt) == split:
            found.setdefault(instance.prompt, instance)
    return Draw(tuple(found.values()), index)


def _digest(environment_id: str, split: Split, index: int, level: int) -> bytes:
    return hashlib.sha256(f"{environment_id}/{split.value}/{index}/{level}".encode()).digest()
