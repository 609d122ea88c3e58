"""Sentinels: sources whose worth is known, sent through S8 every round, so that a reviewer that grows blind is noticed.

The sound ones are the seeds. The broken ones are seeds with one line changed such that text and code disagree, or `verify`
accepts too much, while the source still runs and looks alive: what S8 above all can see. A drop of the share that is caught,
against an earlier round, raises an alarm. Left out: what to do about it, and sentinels of one's own, which any caller may add.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from env_synth.admission import semantic
from env_synth.admission.asking import Asking, Lent, Subject, run_together
from env_synth.admission.candidate import Candidate, Context
from env_synth.admission.records import Outcome, StageResult
from env_synth.admission.static import read_source
from env_synth.contract import Proposal
from env_synth.errors import ContractError
from env_synth.seeds import seed_sources

# name: (seed, defect, line as it is, line as it becomes)
_BROKEN: dict[str, tuple[str, str, str, str]] = {
    "machine_stops_early": ("register_machine", "off by one", "for _ in range(steps):", "for _ in range(max(1, steps - 1)):"),
    "machine_skips_nothing": ("register_machine", "text and code disagree", "% value == 0:", "% value != 0:"),
    "edit_swaps_costs": (
        "edit_distance",
        "text and code disagree",
        'insert, delete, change = public["costs"]\n        return (',
        'delete, insert, change = public["costs"]\n        return (',
    ),
    "edit_forgets_equal_letters": ("edit_distance", "wrong algorithm", "0 if old == new else change", "change"),
    "route_ignores_tolls": ("toll_shortest_path", "constraint ignored", "if used + toll <= tolls:", "if used <= tolls:"),
    "route_misses_direction": (
        "toll_shortest_path",
        "text and code disagree",
        'f"One-way roads between towns, each with its cost',
        'f"Roads between towns that may be driven both ways, each with its cost',
    ),
    "recurrence_backwards": (
        "linear_recurrence",
        "wrong order",
        "zip(coefficients, reversed(window), strict=True)",
        "zip(coefficients, window, strict=True)",
    ),
    "recurrence_counts_from_zero": (
        "linear_recurrence",
        "off by one",
        "range(index - len(start))",
        "range(index + 1 - len(start))",
    ),
    "jobs_may_not_touch": ("interval_scheduling", "wrong on ties", "bisect.bisect_right(", "bisect.bisect_left("),
    "jobs_by_pay": (
        "interval_scheduling",
        "text and code disagree",
        "What is the highest total pay?",
        "What is the highest number of jobs?",
    ),
    "paths_may_go_diagonally": (
        "grid_paths",
        "text and code disagree",
        "Each step goes one cell right or one cell down, never onto x.",
        "Each step goes one cell right, down or diagonally down right, never onto x.",
    ),
    "paths_forget_blocks": ("grid_paths", "constraint ignored", 'if cell == "x":', 'if cell == "x" and column > 0:'),
    "subset_repeats": ("subset_sum", "verify too lax", "len(set(chosen)) != len(chosen) or ", ""),
    "colours_wrong_edge": (
        "graph_colouring",
        "verify too lax",
        'parts[second - 1] for first, second in public["edges"])',
        'parts[second - 1] for first, second in public["edges"][1:])',
    ),
}


@dataclass(frozen=True)
class Sentinel:
    """A source with its label; `defect` is empty for a sound one."""

    name: str
    source: str
    defect: str = ""


@dataclass(frozen=True)
class SentinelReport:
    """What S8 made of the sentinels: names of broken ones that passed, and of sound ones that were refused."""

    solver: str
    broken: int
    sound: int
    missed: tuple[str, ...]
    falsely_refused: tuple[str, ...]

    @property
    def recall(self) -> float:
        """Share of the broken that were refused; 0.0 without any."""
        return (self.broken - len(self.missed)) / self.broken if self.broken else 0.0

    @property
    def false_refusal_rate(self) -> float:
        """Share of the sound that were refused; 0.0 without any."""
        return len(self.falsely_refused) / self.sound if self.sound else 0.0


def built_in_sentinels() -> list[Sentinel]:
    """The ten seeds, and the broken ones made from them. Raises ContractError if a seed no longer holds the line to change."""
    seeds = seed_sources()
    made = [Sentinel(name, source) for name, source in seeds.items()]
    for name, (seed, defect, before, after) in _BROKEN.items():
        if seeds[seed].count(before) != 1:
            raise ContractError(f"sentinel {name}: seed {seed} does not hold {before!r} exactly once")
        made.append(Sentinel(name, seeds[seed].replace(before, after), defect))
    return made


def judge_sentinels(sentinels: Sequence[Sentinel], context: Context, lent: Lent) -> SentinelReport:
    """Sends the sentinels through S8 alone, all prompts together. Raises SolverError where the solver cannot answer."""
    results = dict(run_together([_job(sentinel, context, lent) for sentinel in sentinels], lent))
    refused = {place for place, result in results.items() if result.outcome is Outcome.REFUSED}
    broken = [place for place, sentinel in enumerate(sentinels) if sentinel.defect]
    sound = [place for place, sentinel in enumerate(sentinels) if not sentinel.defect]
    return SentinelReport(
        solver=lent.solver.name,
        broken=len(broken),
        sound=len(sound),
        missed=tuple(sentinels[place].name for place in broken if place not in refused),
        falsely_refused=tuple(sentinels[place].name for place in sound if place in refused),
    )


def recall_has_dropped(now: SentinelReport, before: SentinelReport, p: float) -> bool:
    """True where so few caught would have a probability below `p` at the earlier recall.

    The earlier recall is taken as (caught + 1/2) / (broken + 1), so that one miss after a perfect round is no alarm yet.
    """
    rate = (before.broken - len(before.missed) + 0.5) / (before.broken + 1)
    caught = now.broken - len(now.missed)
    chance = math.fsum(
        math.comb(now.broken, count) * rate**count * (1 - rate) ** (now.broken - count) for count in range(caught + 1)
    )
    return now.broken > 0 and chance < p


def _job(sentinel: Sentinel, context: Context, lent: Lent) -> Asking[StageResult]:
    proposal = Proposal(sentinel.source, "sentinel")
    facts, broken, _ = read_source(sentinel.source)
    if facts is None:
        raise ContractError(f"sentinel {sentinel.name} breaks a rule of S0 ({broken[0].code}), so S8 would never see it")
    with Candidate(proposal, facts) as candidate:
        return (yield from semantic.check(Subject(candidate, context, lent)))
