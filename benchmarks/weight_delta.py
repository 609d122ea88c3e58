"""How much of a policy's weights a step of training changes, and whether sending only that is faster than sending all.

Command: python -m benchmarks.weight_delta OLD NEW [--repeats=5]: two exports of one run (`python -m evo_jax.export --step=N`),
directories with model.safetensors. Prints one table and writes results/weight_delta.json. `make` is the run's share, `apply`
the fetcher's, `hash` the SHA-256 of the file, which either way needs. The link whose speed makes both ways equal is
(bytes saved) / (make + apply). Left out: the link itself.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.record import measure, write_record
from evo_jax.rollouts.weight_delta import apply_delta, make_delta


def main() -> None:
    """Measures, prints the table, writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--learning_rate", default="", help="Of the run, for the record.")
    options = parser.parse_args()
    old, new = (Path(name) / "model.safetensors" for name in (options.old, options.new))
    changed = float(np.mean(np.memmap(old, np.uint16, "r") != np.memmap(new, np.uint16, "r")))
    delta = make_delta(old, new)
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "copy"
        timings = {
            "make": measure(lambda: make_delta(old, new), options.repeats),
            "apply": measure(lambda: apply_delta(delta, old, copy), options.repeats),
            "hash": measure(lambda: hashlib.sha256(copy.read_bytes()).digest(), options.repeats),
        }
        assert copy.read_bytes() == new.read_bytes()
    size_mb, delta_mb = new.stat().st_size / 1e6, len(delta) / 1e6
    even = (size_mb - delta_mb) / (timings["make"].median_s + timings["apply"].median_s)
    table = Table(title=f"{changed:.1%} of the words changed: {delta_mb:.1f} of {size_mb:.1f} MB; equal at {even:.0f} MB/s")
    for column in ("part", "median s", "min s", "max s"):
        table.add_column(column, justify="left" if column == "part" else "right")
    rows = [{"part": part, **timing.fields} for part, timing in timings.items()]
    for row in rows:
        table.add_row(row["part"], *(f"{row['spread'][name]:.2f}" for name in ("median", "min", "max")))
    Console().print(table)
    settings = {"learning_rate": options.learning_rate, "size_mb": round(size_mb, 1), "delta_mb": round(delta_mb, 2)}
    write_record("weight_delta", settings | {"changed": round(changed, 4), "equal_at_mb_per_s": round(even)}, rows, {})


if __name__ == "__main__":
    main()
