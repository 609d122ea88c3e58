"""How long N1 looks for copies as the archive grows, with banded MinHash tables and by comparing with every environment.

Command: python -m benchmarks.novelty [--sizes=100,1000,10000] [--probes=40]. Prints one table and writes
results/novelty.json. The archive is the seeds and the clean corpus, filled up with strangers: made-up fingerprints that
share a fifth of their grams with one of those and have as many grams as it. Probes are rewritten copies (85 to 100 % of an
archived fingerprint's grams kept, up to as many added, or only 40 % of them left) and as many strangers. Recall: of the
copies that the exhaustive search would have N1 refuse, how many the tables find. Left out: reading and fingerprinting a
source, which does not depend on the archive.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.record import write_record
from env_synth import novelty
from env_synth.admission.static import read_source
from env_synth.config import AdmissionConfig
from env_synth.novelty import Archive, Fingerprint, fingerprint
from env_synth.seeds import seed_sources

ROOT = Path(__file__).parents[1]
CLEAN = ROOT / "tests" / "env_synth" / "corpus" / "clean"
COPIES = ((1.0, 0.0), (0.95, 0.05), (0.85, 0.1), (1.0, 1.0), (0.4, 0.0))  # share of grams kept, share added


def main() -> None:
    """Grows an archive, looks up at each size, prints the table, writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="100,1000,10000")
    parser.add_argument("--probes", type=int, default=40)
    options = parser.parse_args()
    rng = random.Random(17)
    bases = real_prints()
    archive, rows = Archive(), list[dict[str, Any]]()
    for place, base in enumerate(bases):
        archive.add(f"real{place}", base)
    for size in map(int, options.sizes.split(",")):
        started = time.perf_counter()
        before = len(archive)
        while len(archive) < size:
            archive.add(f"stranger{len(archive)}", relative(rng.choice(bases), rng, 0.2, 0.8))
        added_ms = (time.perf_counter() - started) * 1000 / max(1, size - before)
        rows.append({"archived": len(archive), "add_ms": round(added_ms, 3), **look_up(archive, bases, rng, options.probes)})
    show(rows)
    write_record("novelty", {"probes": options.probes, "exhaustive_size": novelty.EXHAUSTIVE_SIZE}, rows, {})


def real_prints() -> list[Fingerprint]:
    """Fingerprints of the seeds and of the clean corpus."""
    found = []
    for source in (*seed_sources().values(), *(path.read_text() for path in sorted(CLEAN.glob("*.py")))):
        facts, _, _ = read_source(source)
        if facts is not None:
            found.append(fingerprint(facts.tree, facts.environment_class))
    return found


def relative(base: Fingerprint, rng: random.Random, kept: float, added: float) -> Fingerprint:
    """A fingerprint that keeps a share of another's grams and adds some of its own."""

    def change(grams: frozenset[int]) -> frozenset[int]:
        stay = rng.sample(sorted(grams), round(kept * len(grams)))
        return frozenset(stay) | {rng.getrandbits(64) for _ in range(round(added * len(grams)))}

    name = f"{rng.getrandbits(256):064x}"
    return Fingerprint(name, name, change(base.code_grams), change(base.prompt_words))


def look_up(archive: Archive, bases: list[Fingerprint], rng: random.Random, probes: int) -> dict[str, Any]:
    """Milliseconds of a lookup (code and prompt) both ways, and the recall of the tables."""
    limit = AdmissionConfig().containment_limit
    asked = [relative(rng.choice(bases), rng, *COPIES[place % len(COPIES)]) for place in range(probes)]
    asked += [relative(rng.choice(bases), rng, 0.2, 0.8) for _ in range(probes)]
    times: dict[bool, list[float]] = {True: [], False: []}
    refused = found = 0
    size, novelty.EXHAUSTIVE_SIZE = novelty.EXHAUSTIVE_SIZE, 0  # so that small archives show what the tables cost, too
    try:
        for probe in asked:
            answers = {}
            for exhaustive in (True, False):
                started = time.perf_counter()
                answers[exhaustive] = [archive.nearest(probe, kind, exhaustive=exhaustive) for kind in ("code", "prompt")]
                times[exhaustive].append((time.perf_counter() - started) * 1000)
            for every, met in zip(answers[True], answers[False], strict=True):
                if every is not None and every.containment > limit:
                    refused += 1
                    found += met is not None and met.containment > limit
    finally:
        novelty.EXHAUSTIVE_SIZE = size
    return {
        "tables_ms_median": round(statistics.median(times[False]), 2),
        "tables_ms_max": round(max(times[False]), 2),
        "exhaustive_ms_median": round(statistics.median(times[True]), 2),
        "exhaustive_ms_max": round(max(times[True]), 2),
        "copies_refused": refused,
        "copies_found": found,
    }


def show(rows: list[dict[str, Any]]) -> None:
    """One row an archive size."""
    table = Table(title="N1: one lookup by code and prompt, milliseconds")
    for title in ("archived", "tables: median", "most", "exhaustive: median", "most", "copies found", "adding one"):
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(
            str(row["archived"]),
            f"{row['tables_ms_median']:.2f}",
            f"{row['tables_ms_max']:.2f}",
            f"{row['exhaustive_ms_median']:.2f}",
            f"{row['exhaustive_ms_max']:.2f}",
            f"{row['copies_found']} of {row['copies_refused']}",
            f"{row['add_ms']:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
