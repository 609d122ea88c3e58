"""How many replies the sequential level search saves against a fixed-sample test with the same errors.

Command: python -m benchmarks.calibration [--runs=4000]. Prints two tables and writes results/calibration.json. First one test
alone: the solve rate below or above the search zone, as the sequential test decides it and as the smallest fixed-sample test
with both errors at most `search_error` would (exact binomial). Then the whole search over ten levels, on made-up curves of
solve rate over level, against a bisection with the fixed test at every level. Pure simulation: replies are drawn, no model is
asked, so the numbers do not depend on the machine. Left out: what replies cost, which is the model's.
"""

from __future__ import annotations

import argparse
import functools
import math
import random
import statistics
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.record import write_record
from env_synth.admission.sequential import LevelSearch, SequentialTest, Side, fixed_sample_size
from env_synth.config import ModelStagesConfig

RATES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.7, 0.9, 1.0)
LEVELS = 10


def falling(middle: float, width: float) -> Callable[[int], float]:
    """A solve rate that falls over the levels: one half at `middle`, most of the fall within `width` levels on either side."""
    return lambda level: 1.0 / (1.0 + math.exp((level - middle) / width))


CURVES: dict[str, Callable[[int], float]] = {
    "weak solver, level 0 at 0.3": falling(-0.8, 1.0),
    "steep fall at level 2": falling(2.0, 0.4),
    "gentle fall at level 4": falling(4.0, 1.5),
    "steep fall at level 7": falling(7.0, 0.4),
    "never solved": lambda level: 0.0,
    "always solved": lambda level: 0.97,
}


def main() -> None:
    """Runs both simulations, prints the tables, writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4000)
    options = parser.parse_args()
    settings = ModelStagesConfig()
    fixed, _ = fixed_sample_size(*settings.search_zone, settings.search_error)
    single = [single_test(rate, settings, fixed, options.runs) for rate in RATES]
    searches = [whole_search(name, curve, settings, options.runs // 4) for name, curve in CURVES.items()]
    show(single, searches, fixed)
    told = {
        "runs": options.runs,
        "search_zone": settings.search_zone,
        "search_error": settings.search_error,
        "search_replies": settings.search_replies,
        "search_batch": settings.search_batch,
        "fixed_sample_replies": fixed,
    }
    write_record("calibration", told, [*single, *searches], {})


def single_test(rate: float, settings: ModelStagesConfig, fixed: int, runs: int) -> dict[str, Any]:
    """One test at a true rate: mean replies (alone; and cut at `search_replies`, in batches), and how often "above" is said."""
    rng = random.Random(f"calibration/{rate}")
    test = SequentialTest(*settings.search_zone, settings.search_error)
    alone, sides, batched = [], [], []
    for _ in range(runs):
        side, used = test.first_decision(rng.random() < rate for _ in range(100_000))
        sides.append(side)
        alone.append(used)
        batches = math.ceil(min(used, settings.search_replies) / settings.search_batch)
        batched.append(batches * settings.search_batch)
    return {
        "simulation": "one test",
        "rate": rate,
        "replies_mean": round(statistics.mean(alone), 2),
        "replies_mean_as_used": round(statistics.mean(batched), 2),
        "replies_fixed": fixed,
        "saved_fraction": round(1 - statistics.mean(alone) / fixed, 3),
        "saved_fraction_as_used": round(1 - statistics.mean(batched) / fixed, 3),
        "above_fraction": round(sides.count(Side.ABOVE) / runs, 4),
    }


def whole_search(name: str, curve: Callable[[int], float], settings: ModelStagesConfig, runs: int) -> dict[str, Any]:
    """The search over the levels of a curve: replies, and how far the chosen level's rate lies from the target."""
    rates = [curve(level) for level in range(LEVELS)]
    best = min(abs(rate - settings.target_solve_rate) for rate in rates)
    sequential = [search(rates, settings, random.Random(f"search/{name}/{run}")) for run in range(runs)]
    fixed = [fixed_search(rates, settings, random.Random(f"fixed/{name}/{run}")) for run in range(runs)]
    row: dict[str, Any] = {"simulation": "whole search", "curve": name, "best_distance": round(best, 3)}
    for kind, found in (("sequential", sequential), ("fixed", fixed)):
        chosen = [level for level, _ in found if level is not None]
        distances = [abs(rates[level] - settings.target_solve_rate) for level in chosen]
        row[f"replies_mean_{kind}"] = round(statistics.mean(replies for _, replies in found), 1)
        row[f"refused_fraction_{kind}"] = round(1 - len(chosen) / runs, 3)
        row[f"distance_mean_{kind}"] = round(statistics.mean(distances), 3) if distances else None
    row["saved_fraction"] = round(1 - row["replies_mean_sequential"] / row["replies_mean_fixed"], 3)
    return row


def search(rates: list[float], settings: ModelStagesConfig, rng: random.Random) -> tuple[int | None, int]:
    """(the level chosen or None, replies) of the search that S9 makes."""
    running = LevelSearch(len(rates) - 1, settings)
    while running.level is not None:
        rate = rates[running.level]
        running.add([rng.random() < rate for _ in range(settings.search_batch)])
    return running.chosen, running.replies


smallest_test = functools.cache(fixed_sample_size)


def fixed_search(rates: list[float], settings: ModelStagesConfig, rng: random.Random) -> tuple[int | None, int]:
    """The same bisection with the fixed-sample test at every level, and fixed tests for the two refusals."""
    replies, above, below, seen = 0, -1, len(rates), dict[int, float]()

    def says_above(level: int, zone: tuple[float, float]) -> bool:
        nonlocal replies
        count, threshold = smallest_test(*zone, settings.search_error)
        replies += count
        solved = sum(rng.random() < rates[level] for _ in range(count))
        seen[level] = solved / count
        return solved >= threshold

    while below - above > 1:
        middle = (above + below) // 2
        if says_above(middle, settings.search_zone):
            above = middle
        else:
            below = middle
    if above == -1:
        return (0 if says_above(0, settings.hard_zone) else None), replies
    if below == len(rates):
        return (None if says_above(above, settings.easy_zone) else above), replies
    return min((above, below), key=lambda level: abs(seen[level] - settings.target_solve_rate)), replies


def show(single: list[dict[str, Any]], searches: list[dict[str, Any]], fixed: int) -> None:
    """Both tables."""
    console = Console()
    table = Table(title=f"one test against a fixed sample of {fixed} replies")
    for title in ("solve rate", "replies, mean", "saved", "as used", "saved", "said above"):
        table.add_column(title, justify="right")
    for row in single:
        cells = [f"{row['rate']:g}", f"{row['replies_mean']:.1f}", f"{row['saved_fraction']:.0%}"]
        table.add_row(
            *cells, f"{row['replies_mean_as_used']:.1f}", f"{row['saved_fraction_as_used']:.0%}", f"{row['above_fraction']:.3f}"
        )
    console.print(table)
    table = Table(title="whole search over ten levels, sequential / fixed")
    for title in ("solve rate over levels", "replies, mean", "saved", "refused", "distance from 0.3 (best possible)"):
        table.add_column(title, justify="left" if title.startswith("solve") else "right")
    for row in searches:
        distance = f"{row['distance_mean_sequential']} / {row['distance_mean_fixed']} ({row['best_distance']})"
        table.add_row(
            row["curve"],
            f"{row['replies_mean_sequential']} / {row['replies_mean_fixed']}",
            f"{row['saved_fraction']:.0%}",
            f"{row['refused_fraction_sequential']} / {row['refused_fraction_fixed']}",
            distance,
        )
    console.print(table)


if __name__ == "__main__":
    main()
