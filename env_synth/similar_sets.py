"""Finding sets that overlap much among many sets, without looking at each: MinHash signatures in banded hash tables.

A set's signature holds, for each of many random orders of all possible members, its smallest member. Two sets agree in one
entry with the probability of their Jaccard similarity J (Broder 1997). Entries are taken in bands of `rows`; sets that agree
in a whole band meet in a table, with probability 1 - (1 - J^rows)^bands, whatever the number of sets (Indyk and Motwani
1998). A set that lies in one `1/ratio` times as large with share c of its members has J = c / (1 + 1/ratio - c). Left out:
the exact overlap, which the caller computes for the few that meet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator

import numpy as np

_HALF = np.uint64(32)


class SimilarSets:
    """Names of sets of 64-bit members. The same for every order of insertion: random orders are fixed, not drawn anew."""

    def __init__(self, bands: int = 96, rows: int = 3) -> None:
        self._rows = rows
        rng = np.random.Generator(np.random.PCG64(bands * 1000 + rows))
        self._salts = rng.integers(0, 1 << 63, size=bands * rows, dtype=np.uint64)
        self._factors = rng.integers(0, 1 << 63, size=(2, bands * rows), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        self._tables: list[dict[bytes, list[str]]] = [defaultdict(list) for _ in range(bands)]

    def add(self, name: str, members: Collection[int]) -> None:
        """Remembers a set; an empty one is never met."""
        for table, key in self._keys(members):
            table[key].append(name)

    def meeting(self, members: Collection[int]) -> set[str]:
        """Names of the sets that agree with `members` in at least one band."""
        return {name for table, key in self._keys(members) for name in table.get(key, ())}

    def _keys(self, members: Collection[int]) -> Iterator[tuple[dict[bytes, list[str]], bytes]]:
        if not members:
            return
        values = np.fromiter(members, dtype=np.uint64, count=len(members))
        mixed = (values[:, None] ^ self._salts) * self._factors[0]  # modulo 2^64: each column is another random order
        mixed = (mixed ^ (mixed >> _HALF)) * self._factors[1]
        signature = (mixed ^ (mixed >> _HALF)).min(axis=0).reshape(-1, self._rows)
        for table, band in zip(self._tables, signature, strict=True):
            yield table, band.tobytes()
