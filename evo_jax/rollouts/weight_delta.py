"""What changed between two versions of a policy's file of weights, as few bytes: most values stay when a small step is rounded.

A delta names every 16-bit word that changed (bfloat16 or float16 values; halves of a float32) by its distance from the one
before, and how far it moved, both compressed. Applied to the old file it gives the new one, which whoever applies it holds to
that one's SHA-256. Measured in docs/results.md. Left out: files of different lengths, for which there is no delta.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

LEVEL = 1  # the fastest; higher levels gain little on what is left
FAR = 255  # a distance that does not fit its byte is written out in another column


class DeltaError(Exception):
    """A delta that can't be made or applied; says why."""


def make_delta(old: Path, new: Path) -> bytes:
    """What turns the file `old` into `new`. Raises DeltaError for files of different lengths."""
    if old.stat().st_size != new.stat().st_size or new.stat().st_size % 2:
        raise DeltaError(f"{old} and {new} are not of the same, even length")
    before, after = np.memmap(old, np.uint16, "r"), np.memmap(new, np.uint16, "r")
    places = np.flatnonzero(before != after)
    distances = np.diff(places, prepend=-1)
    near = np.minimum(distances, FAR).astype(np.uint8)
    far = distances[distances >= FAR].astype(np.uint64)
    moves = after[places] - before[places]  # modulo 2^16: the halves of small moves, apart, compress better than the values
    columns: list[np.ndarray] = [near, far, moves.astype(np.uint8), (moves >> 8).astype(np.uint8)]
    packed = [zlib.compress(column.tobytes(), LEVEL) for column in columns]
    lengths = np.array([len(column) for column in packed], np.uint64)
    return lengths.tobytes() + b"".join(packed)


def apply_delta(delta: bytes, old: Path, new: Path) -> None:
    """Writes `new` from `old` and what `make_delta` returned. Raises DeltaError for anything else."""
    try:
        lengths = np.frombuffer(delta[:32], np.uint64).astype(int)
        ends = 32 + np.cumsum(lengths)
        near, far, low, high = (
            np.frombuffer(zlib.decompress(delta[end - length : end]), kind)
            for end, length, kind in zip(ends, lengths, (np.uint8, np.uint64, np.uint8, np.uint8), strict=True)
        )
        distances = near.astype(np.int64)
        distances[near == FAR] = far
        places = np.cumsum(distances) - 1
        words = np.fromfile(old, np.uint16)
        words[places] += low.astype(np.uint16) | (high.astype(np.uint16) << 8)
    except (ValueError, IndexError, zlib.error) as error:
        raise DeltaError(f"{old}: what should change it can't be applied: {error}") from error
    words.tofile(new)
