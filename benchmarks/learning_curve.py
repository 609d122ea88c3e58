"""Is learning real? Two finished runs of configs/smollm2_cpu.py side by side: verified rewards, and random ones.

Prints held-out gains by environment with a paired bootstrap, and the curves; writes results/learning_curve.json.
Left out: training itself (the config's header gives the two commands).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from absl import app, flags
from rich.console import Console
from rich.table import Table

from evo_jax.evaluation import ALL, compare_run
from evo_jax.metrics import METRICS_FILE, TIMINGS_FILE
from evo_jax.run_directory import CONFIG_FILE

VERIFIED = flags.DEFINE_string("verified", "", "Run directory with verified rewards.")
RANDOM = flags.DEFINE_string("random", "", "Run directory with random rewards.")
OUTPUT = flags.DEFINE_string("output", "results/learning_curve.json", "Where the record goes.")

CURVES = (
    "solve_rate",
    "reward",
    "frac_reward_zero_std",
    "entropy",
    "completions/mean_length",
    "sampling/logprob_difference/mean",
)
EVERY_STEPS = 4


def read_run(path: Path) -> dict[str, Any]:
    """Provenance, held-out comparison, curves and wall time of one run; its own path is left out."""
    written = json.loads((path / CONFIG_FILE).read_text())
    metrics = [json.loads(line) for line in (path / METRICS_FILE).read_text().splitlines()]
    timings = [json.loads(line) for line in (path / TIMINGS_FILE).read_text().splitlines()]
    config = {name: value for name, value in written["config"].items() if name != "run_dir"}
    seconds = sum(
        line.get("time/step", 0) + line.get("time/evaluation", 0) + line.get("time/checkpoint", 0) for line in timings
    )
    return {
        **{name: written[name] for name in ("commit", "versions", "machine")},
        "config": config,
        "held_out": compare_run(path, None, None),
        "curves": [{"step": line["step"], **{name: line.get(name) for name in CURVES}} for line in metrics],
        "wall_time_s": round(seconds, 1),
        "peak_memory_mib": max(line.get("memory/peak_mib", 0) for line in timings),
    }


def gains(runs: dict[str, dict[str, Any]]) -> Table:
    """Held-out solve rates before and after, one row an environment, both arms."""
    table = Table(title="held-out solve rate, before -> after, gain [95 %], one-sided p")
    table.add_column("environment")
    for arm in runs:
        table.add_column(arm)
    by_arm = [{row["environment"]: row for row in run["held_out"]["rows"]} for run in runs.values()]
    for name in by_arm[0]:
        cells = []
        for rows in by_arm:
            before, after, gain = (rows[name][key] for key in ("before", "after", "comparison"))
            interval = f"[{gain['low']:+.3f}, {gain['high']:+.3f}]"
            cells.append(
                f"{before['mean']:.3f} -> {after['mean']:.3f}  {gain['difference']:+.3f} {interval} p={gain['p_value']:.4f}"
            )
        table.add_row(name, *cells, style="bold" if name == ALL else "")
    return table


def curves(name: str, run: dict[str, Any]) -> Table:
    """The run's curves, every few steps."""
    table = Table(title=f"{name}: {run['wall_time_s'] / 60:.0f} minutes, peak {run['peak_memory_mib']:,.0f} MiB")
    for column in ("step", *CURVES):
        table.add_column(column, justify="right")
    for line in run["curves"]:
        if line["step"] == 1 or (line["step"] and line["step"] % EVERY_STEPS == 0):
            table.add_row(str(line["step"]), *("" if line[c] is None else f"{line[c]:.3f}" for c in CURVES))
    return table


def main(arguments: list[str]) -> None:
    """Reads both runs, prints the tables and writes the record."""
    runs = {"verified": read_run(Path(VERIFIED.value)), "random": read_run(Path(RANDOM.value))}
    console = Console(width=200)
    console.print(gains(runs))
    for name, run in runs.items():
        console.print(curves(name, run))
    Path(OUTPUT.value).write_text(json.dumps(runs, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
