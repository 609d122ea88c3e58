"""Small-sample statistics that decide verdicts. Pure functions; left out: anything that needs more than counts or ranks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise


def wilson_lower_bound(successes: int, trials: int, z: float = 1.96) -> float:
    """Lower end of Wilson's score interval for a share (two-sided 95 % at z = 1.96); 0.0 without trials."""
    if trials == 0:
        return 0.0
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(0.0, (centre - spread) / (1 + z * z / trials))


def permutation_tail(first: Sequence[int], second: Sequence[int]) -> float:
    """One-sided exact p of `first`'s sum: how likely it is as large, were all counts dealt to the two sides at random."""
    ways = [Counter({0: 1}), *(Counter[int]() for _ in first)]  # by how many counts are dealt to the first side: sum -> deals
    for count in (*first, *second):
        for fewer, more in reversed(list(pairwise(ways))):
            for total, deals in fewer.items():
                more[total + count] += deals
    dealt, observed = ways[-1], sum(first)
    return sum(deals for total, deals in dealt.items() if total >= observed) / dealt.total()


def spearman(left: Sequence[float], right: Sequence[float]) -> float:
    """Rank correlation with ties at their mean rank, in [-1, 1]; 0.0 where one side is constant."""
    first, second = _ranks(left), _ranks(right)
    mean = (len(first) + 1) / 2
    covariance = sum((a - mean) * (b - mean) for a, b in zip(first, second, strict=True))
    spread = math.sqrt(sum((a - mean) ** 2 for a in first) * sum((b - mean) ** 2 for b in second))
    return covariance / spread if spread > 0 else 0.0


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=lambda place: values[place])
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for place in order[start:end]:
            ranks[place] = (start + end + 1) / 2
        start = end
    return ranks
