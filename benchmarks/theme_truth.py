"""Which of a run's own environments are right: each reference beside the answer that its theme asks for.

Command: python -m benchmarks.theme_truth --run=RUN, of a run of configs/coder_cpu_evolving.py. There each proposal is asked
for one of 48 themes, and here stands what each of them asks, written by hand from its words alone. A source is right when its
reference agrees on every instance drawn with what the prompt asks, with the numbers taken from the prompt, as the solver sees
it. Prints what the stages with a model made of the right and of the wrong ones, and every admitted source; writes
results/truth_NAME.json. Left out: prompts in other words than those of any theme, which somebody has to read, and sources that
no stage with a model saw.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise, product
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.record import write_record
from configs.coder_cpu_evolving import THEMES
from env_synth.admission.candidate import Candidate, Context, Drawn, RefusalError
from env_synth.admission.records import MODEL_STAGE_NAMES
from env_synth.admission.static import read_source
from env_synth.config import AdmissionConfig, SandboxConfig
from env_synth.contract import Proposal
from env_synth.errors import EnvSynthError
from env_synth.novelty import Archive
from env_synth.registry import Registry
from env_synth.sandbox.host import Sandbox

RIGHT, REWORDED = "right", "in other words"
INSTANCES_PER_LEVEL, LEVELS = 8, 6
FIRST_INDEX = 60_000  # of the training split: no stage draws from here


def _running(numbers: Sequence[int], start: int, step: Callable[[int, int], int]) -> int:
    return [*accumulate(numbers, step, initial=start)][-1]


def _until_above(numbers: Sequence[int], limit: int) -> int:
    return next((total for total in accumulate(numbers) if total > limit), sum(numbers))


# In the order of THEMES; `n` is the limit, start, factor or target where a theme names one. Which of an even number of sorted
# ones is the middle, the theme doesn't say: the upper is taken, as most code does.
ANSWERS: tuple[Callable[[list[int], int], int], ...] = (
    lambda xs, n: sum(x for x in xs if x % 2 == 0),
    lambda xs, n: sum(xs[::2]),
    lambda xs, n: sum(abs(a - b) for a, b in pairwise(xs)),
    lambda xs, n: sum(place * x for place, x in enumerate(xs, start=1)),
    lambda xs, n: sum(max(a, b) for a, b in pairwise(xs)),
    lambda xs, n: sum(2 * x if x % 2 else x for x in xs),
    lambda xs, n: max(xs) - min(xs),
    lambda xs, n: sum(xs) - max(xs),
    lambda xs, n: sum(x % 10 for x in xs),
    _until_above,
    lambda xs, n: sum(min(x, n) for x in xs),
    lambda xs, n: n + sum(x if x % 2 else -x for x in xs),
    lambda xs, n: sum(a * b for a, b in pairwise(xs)),
    lambda xs, n: sorted(xs)[-2],
    lambda xs, n: sum(x for place, x in enumerate(xs) if all(x > before for before in xs[:place])),
    lambda xs, n: sum(x * x for x in xs),
    lambda xs, n: 2 * (xs[0] + xs[-1]),
    lambda xs, n: sorted(xs)[len(xs) // 2],
    lambda xs, n: sum(x for x in xs if x % 3 == 0 or x % 5 == 0),
    lambda xs, n: max(xs) * min(xs),
    lambda xs, n: max(a * b for a, b in pairwise(xs)),
    lambda xs, n: math.prod(x + 1 for x in xs),
    lambda xs, n: sum(sorted(xs)[-2:]),
    lambda xs, n: sum(n * x for x in xs),
    lambda xs, n: sum(abs(x - n) for x in xs),
    lambda xs, n: sum(x if x % 2 else x // 2 for x in xs),
    lambda xs, n: sum(int(digit) for x in xs for digit in str(x)),
    lambda xs, n: sum(2 * min(a, b) for a, b in pairwise(xs)),
    lambda xs, n: _running(xs, 0, lambda total, x: 2 * total + x),
    lambda xs, n: xs[0] - sum(xs[1:]),
    lambda xs, n: max((x for x in xs if x % 2 == 0), default=0),
    lambda xs, n: sum(x for x in xs if x < xs[-1]),
    lambda xs, n: min((x for x in xs if x % 2), default=0),
    lambda xs, n: xs[-1] - xs[-2],
    lambda xs, n: sum(x % 4 for x in xs),
    lambda xs, n: sum(x if x % 2 else -x for x in xs),
    lambda xs, n: sum(x for x in xs if x <= 10),
    lambda xs, n: xs[0] * xs[-1] + sum(xs[1:-1]),
    lambda xs, n: sum(x * x for x in xs if x % 2 == 0),
    lambda xs, n: sum(3 * (x - 2) for x in xs),
    lambda xs, n: sum(x * x for x in sorted(xs)[1:]),
    lambda xs, n: sum(max(0, x - n) for x in xs),
    lambda xs, n: sum(x * x for x in xs if x < n),
    lambda xs, n: _running(xs, n, lambda total, x: total + x if x % 2 else 2 * total),
    lambda xs, n: sum(accumulate(xs)),
    lambda xs, n: sum(x if x % 2 else 2 * x for x in xs),
    lambda xs, n: sum(x - min(xs) for x in xs),
    lambda xs, n: sum(xs) * max(xs),
)
TRUTH = dict(zip(THEMES, ANSWERS, strict=True))


def asked_by(prompt: str) -> str:
    """The theme whose sentences, but for the first, stand in a prompt; "" where there is none."""
    return next((theme for theme in THEMES if theme.split(". ", 1)[1] in prompt), "")


def label(candidate: Candidate, context: Context) -> dict[str, Any]:
    """`asked`, the theme of the prompts; `truth`: RIGHT, REWORDED, or what is wrong on some instance of the first levels."""
    asked, truth = "", RIGHT
    try:
        for level, index in product(range(LEVELS), range(FIRST_INDEX, FIRST_INDEX + INSTANCES_PER_LEVEL)):
            drawn = candidate.draw(context, index, level)
            asked = asked_by(drawn.prompt)
            truth = (_wrong(asked, drawn) or truth) if asked else REWORDED
    except RefusalError as error:
        truth = f"fails ({error.reason})"
    return {"asked": asked, "truth": truth}


def _wrong(theme: str, drawn: Drawn) -> str:
    numbers = _shown(drawn.prompt)
    second = 0
    if re.match(r"Look at a list of numbers and an? \w+\.", theme):
        values = drawn.public.values() if isinstance(drawn.public, dict) else ()
        other = [value for value in values if isinstance(value, int)]
        if len(other) != 1 or str(other[0]) not in drawn.prompt:
            return "states no second number"
        second = other[0]
    if not numbers:
        return "shows no numbers"
    try:
        return "" if drawn.reference == str(TRUTH[theme](numbers, second)) else "another answer"
    except (IndexError, ValueError):  # the theme asks for more numbers than the prompt has
        return "too few numbers"


def _shown(prompt: str) -> list[int]:
    """The first list of numbers in a prompt."""
    found = re.search(r"numbers:? \[?(-?\d+(?:, -?\d+)*)", prompt)
    return [int(number) for number in found.group(1).split(", ")] if found else []


def labelled(registry: Registry, context: Context) -> list[dict[str, Any]]:
    """One row for each proposal that a stage with a model saw."""
    seen = [
        (r.environment_id, r.source, "admitted", r.admitted_step) for r in registry.environments() if r.origin == "proposal"
    ]
    refused = [r for r in registry.refused() if r.origin == "proposal" and r.refused_at in MODEL_STAGE_NAMES]
    seen += [(r.environment_id, r.source, f"{r.refused_at} {r.reason}", r.step) for r in refused]
    rows = []
    for identity, source, verdict, step in sorted(seen, key=lambda row: (row[3], row[0])):
        facts, _, _ = read_source(source)
        with Candidate(Proposal(source, "labelled"), facts) as candidate:
            found = {"step": step, "environment": identity, "verdict": verdict, **label(candidate, context)}
        rows.append({**found, "source": source})
    return rows


def show(rows: Sequence[dict[str, Any]]) -> None:
    """What became of right and wrong ones, and every admitted one."""
    truths = sorted({row["truth"] for row in rows}, key=lambda truth: (truth != RIGHT, truth))
    table = Table(title="verdicts on what the theme's own answer calls right or wrong")
    for column in ("verdict", *truths):
        table.add_column(column)
    counts = Counter((row["verdict"], row["truth"]) for row in rows)
    for verdict in sorted({row["verdict"] for row in rows}):
        table.add_row(verdict, *(str(counts[verdict, truth]) for truth in truths))
    table.add_row("all", *(str(sum(row["truth"] == truth for row in rows)) for truth in truths))
    admitted = Table(title="admitted")
    for column in ("step", "environment", "truth", "what the prompt asks"):
        admitted.add_column(column)
    for row in rows:
        if row["verdict"] == "admitted":
            admitted.add_row(str(row["step"]), row["environment"][:8], row["truth"], row["asked"])
    Console(width=150).print(table, admitted)


def main() -> None:
    """Reads, labels, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="run directory")
    path = parser.parse_args().run
    with Registry.open(path / "registry", writable=False) as registry, Sandbox(SandboxConfig()) as sandbox:
        rows = labelled(registry, Context(AdmissionConfig(), sandbox, Archive()))
    if not rows:
        sys.exit(f"error: no stage with a model has seen a proposal of {path}")
    show(rows)
    settings = {"instances_per_level": INSTANCES_PER_LEVEL, "levels": LEVELS}
    print(write_record(f"truth_{path.resolve().name}", settings, rows, {}))


if __name__ == "__main__":
    try:
        main()
    except EnvSynthError as error:
        sys.exit(f"error: {error}")
