"""Which groups may begin, and which must be taken, so that none is ever trained on too stale.

A group may be trained on up to step `oldest version + max_staleness_steps`, its deadline: the oldest weights that any of its
tokens was sampled under decide. Every step takes `per_step` groups. So the groups held can all be trained in time just where
for every step s, no more of them are due up to s than the steps up to s take. Both functions keep it so: nothing begins that
would break it, and what is taken is chosen so that the rest still keeps it. Left out: threads and clocks (`sampling_ahead.py`).
"""

from __future__ import annotations

from collections.abc import Sequence


def groups_in_time(deadlines: Sequence[int], *, deadline: int, next_step: int, per_step: int) -> int:
    """How many more groups with `deadline`, the latest of all, may begin beside those held, whose deadlines are given.

    `next_step` is the first step whose groups were not taken yet.
    """
    return (deadline - next_step + 1) * per_step - len(deadlines)


def groups_to_take(
    deadlines: Sequence[int], finished: Sequence[bool], *, count: int, step: int, per_step: int
) -> list[int] | None:
    """`count` places among the groups held, all finished, to be trained at `step`; None while too few are finished.

    Groups stand in the order they were dealt in. Those that later steps could not take in time come first, then the order
    decides: to prefer what ended first would train on short completions before long ones.
    """
    chosen: list[int] = []
    for due in sorted(set(deadlines)):
        reach = [place for place, deadline in enumerate(deadlines) if deadline <= due]
        spare = max(0, due - step) * per_step
        missing = len(reach) - spare - len(chosen)  # what is chosen so far is due by then too
        ready = [place for place in reach if finished[place] and place not in chosen]
        if missing > len(ready):
            return None
        chosen += ready[: max(0, missing)]
    assert len(chosen) <= count, (
        f"{len(chosen)} groups are due at step {step}, which takes {count}: one of them would be too stale"
    )
    rest = [place for place, ended in enumerate(finished) if ended and place not in chosen]
    chosen += rest[: count - len(chosen)]
    return sorted(chosen) if len(chosen) == count else None
