"""Whether a policy learns to write environments: the admission funnel of a run by rounds, and how diverse what passes is.

Command: python -m benchmarks.funnel --run_dir=RUN [--rounds_together=5]. Reads a run's metrics and registry, prints two tables
and writes results/funnel_NAME.json. Shares have Wilson intervals (95 %); a trend is tested by the statistic of Cochran and
Armitage over single rounds, one-sided. Only proposals count, no composites; verdicts reached after the last update are in the
registry alone, and so in the second table alone. Left out: whether an admitted source is right, which somebody has to read.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags
from rich.console import Console
from rich.table import Table

from benchmarks.record import write_record
from env_synth.admission.records import MODEL_STAGE_NAMES, STAGE_NAMES
from env_synth.admission.static import read_source
from env_synth.admission.statistics import wilson_lower_bound
from env_synth.errors import EnvSynthError
from env_synth.novelty import fingerprint
from env_synth.registry import Registry
from evo_jax.report.rounds import RoundCount, admission_rounds
from evo_jax.report.run_files import read_run_files

RUN_DIR = flags.DEFINE_string("run_dir", "", "Run directory.")
TOGETHER = flags.DEFINE_integer("rounds_together", 5, "Rounds of one row.")

# The share of proposals that get past these stages; what comes before the stages (no code, a repetition) counts as not past.
MARKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("rules and no copy (N1)", STAGE_NAMES[2:]),
    ("mechanical stages", MODEL_STAGE_NAMES),
    ("calibrated (S9)", ("N2",)),
    ("admitted", ()),
)


def share(successes: int, trials: int) -> dict[str, Any]:
    """A share with its Wilson interval."""
    low, high = wilson_lower_bound(successes, trials), 1.0 - wilson_lower_bound(trials - successes, trials)
    return {"passed": successes, "of": trials, "low": round(low, 4), "high": round(high, 4)}


def trend_p(successes: Sequence[int], trials: Sequence[int]) -> float:
    """One-sided p of a rise over the rounds (Cochran and Armitage); 1 where nothing or everything passed."""
    total, rate = sum(trials), sum(successes) / max(1, sum(trials))
    if rate in (0.0, 1.0):
        return 1.0
    mean = sum(place * count for place, count in enumerate(trials)) / total
    rise = sum(
        (place - mean) * (good - count * rate) for place, (good, count) in enumerate(zip(successes, trials, strict=True))
    )
    spread = rate * (1.0 - rate) * sum(count * (place - mean) ** 2 for place, count in enumerate(trials))
    return 0.5 * math.erfc(rise / math.sqrt(2.0 * spread)) if spread else 1.0


def by_rounds(rounds: Sequence[RoundCount], together: int) -> Iterator[dict[str, Any]]:
    """One row for every `together` rounds, then one for all with the trends."""
    for start in range(0, len(rounds), together):
        some = rounds[start : start + together]
        name = f"{some[0].first_step} to {some[-1].last_step}"
        yield {"rounds": name, **{mark: share(*_counts(some, later)) for mark, later in MARKS}}
    whole = {mark: share(*_counts(rounds, later)) for mark, later in MARKS}
    for mark, later in MARKS:
        whole[mark]["trend_p"] = trend_p([row.passed(later) for row in rounds], [row.tried for row in rounds])
    yield {"rounds": "all", **whole}


def _counts(rounds: Sequence[RoundCount], later: Sequence[str]) -> tuple[int, int]:
    return sum(row.passed(later) for row in rounds), sum(row.tried for row in rounds)


def diversity(registry: Registry) -> list[dict[str, Any]]:
    """Of what passed the mechanical stages, and of what was admitted: how many there are, and how many kinds."""
    refused = [
        (r.source, r.operator) for r in registry.refused() if r.origin == "proposal" and r.refused_at in MODEL_STAGE_NAMES
    ]
    admitted = [(r.source, r.operator) for r in registry.environments() if r.origin == "proposal"]
    rows = []
    for name, kept in (("mechanical stages", [*refused, *admitted]), ("admitted", admitted)):
        shapes, types = set(), set()
        for source, _ in kept:
            facts, _, _ = read_source(source)
            if facts is not None:
                shapes.add(fingerprint(facts.tree, facts.environment_class).normalised_hash)
                types.add(facts.info.answer_type.value)
        themes = {theme for _, theme in kept}
        rows.append(
            {"passed": name, "sources": len(kept), "shapes": len(shapes), "answer_types": len(types), "themes": len(themes)}
        )
    return rows


def show(funnel: Sequence[dict[str, Any]], kinds: Sequence[dict[str, Any]]) -> None:
    """Both tables."""
    table = Table(title="proposals that passed, by round")
    for column in ("rounds", *(mark for mark, _ in MARKS)):
        table.add_column(column)
    for row in funnel:
        cells = []
        for mark, _ in MARKS:
            found = row[mark]
            trend = f", rise p = {found['trend_p']:.3g}" if "trend_p" in found else ""
            cells.append(f"{found['passed']} of {found['of']} ({found['low']:.0%} to {found['high']:.0%}{trend})")
        table.add_row(row["rounds"], *cells)
    other = Table(title="how diverse they are")
    for column in kinds[0]:
        other.add_column(column.replace("_", " "))
    for row in kinds:
        other.add_row(*map(str, row.values()))
    console = Console(width=150)
    console.print(table, other)


def main(arguments: Sequence[str]) -> int:
    """Reads, prints, writes."""
    if len(arguments) > 1 or not RUN_DIR.value or TOGETHER.value < 1:
        print("error: --run_dir=RUN is needed, and --rounds_together of at least 1", file=sys.stderr)
        return 2
    path = Path(RUN_DIR.value)
    rounds = [row for row in admission_rounds(read_run_files(path).metrics, {}, STAGE_NAMES) if row.kind == "proposals"]
    if not rounds:
        print(f"error: {path} has no round with proposals", file=sys.stderr)
        return 1
    try:
        with Registry.open(path / "registry", writable=False) as registry:
            kinds = diversity(registry)
    except EnvSynthError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    funnel = list(by_rounds(rounds, TOGETHER.value))
    show(funnel, kinds)
    print(write_record(f"funnel_{path.resolve().name}", {"rounds_together": TOGETHER.value}, [*funnel, *kinds], {}))
    return 0


if __name__ == "__main__":
    app.run(main)
