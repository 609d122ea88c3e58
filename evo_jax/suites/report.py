"""Results of an evaluation as JSON and as tables: by suite and environment, compared with another, and the contamination check.

The JSON is a complete record: settings, provenance, rows and every problem, so that a later evaluation can be compared with it.
Left out: charts.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from env_synth.printable import printable
from evo_jax.evaluation import ALL, EvaluationError, ProblemResult, summarise
from evo_jax.run_directory import provenance
from evo_jax.suites.records import Suite

FORMAT = "evo_jax evaluation 1"
TABLE_WIDTH = 100


def evaluation_json(
    policy: Mapping[str, Any], settings: Mapping[str, Any], suites: Sequence[Suite], results: Sequence[ProblemResult]
) -> dict[str, Any]:
    """The record of one policy's evaluation, without comparison and contamination."""
    rows = {}
    for suite in suites:
        of_suite = [result for result in results if result.suite == suite.name]
        names = list(dict.fromkeys(result.environment for result in of_suite))
        parts = {name: summarise([result for result in of_suite if result.environment == name]) for name in names}
        whole = {"grader": suite.grader, **summarise(of_suite)}
        rows[suite.name] = {"all": whole, "environments": parts if len(names) > 1 else {}}
    return {
        "format": FORMAT,
        "policy": dict(policy),
        "settings": dict(settings),
        **provenance(),
        "suites": rows,
        "problems": [dataclasses.asdict(result) for result in results],
    }


def read_evaluation(path: Path) -> dict[str, Any]:
    """An earlier --out file, its problems as ProblemResult. Raises EvaluationError for a file that is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise EvaluationError(f"{path} is of another format: evaluate that policy again")
        return {**record, "problems": [ProblemResult(**problem) for problem in record["problems"]]}
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise EvaluationError(f"{path} is no evaluation: name a file that --out wrote, a run, or a model") from None


def require_same_settings(before: Mapping[str, Any], after: Mapping[str, Any], where: Path) -> None:
    """Raises EvaluationError, naming the differences, where two evaluations were not sampled and graded alike."""
    different = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if different:
        shown = ", ".join(f"{name} {before.get(name)!r} there, {after.get(name)!r} here" for name in different)
        raise EvaluationError(f"{where} can't be compared with this evaluation: {shown}. Choose the same, or evaluate it again")


def to_json_text(record: Mapping[str, Any]) -> str:
    """The record as JSON proper: what is no number (the standard error of a single prompt) becomes null."""
    return json.dumps(_without_nan(record), indent=1, allow_nan=False)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_evaluation(record: Mapping[str, Any], console: Console) -> None:
    """The tables of a record."""
    policy, settings = record["policy"]["name"], record["settings"]
    asked = f"{settings['samples']} replies each, temperature {settings['temperature']:g}, at most "
    console.print(_line(f"{policy}: {asked}{settings['max_completion_tokens']} tokens, rule {settings['extraction_rule']}"))
    for name, suite in record["suites"].items():
        console.print(_suite_table(name, suite, settings["samples"]))
    if "compared_to" in record:
        _print_comparison(record["compared_to"], console)
    if "contamination" in record:
        _print_contamination(record["contamination"], console)


def _suite_table(name: str, suite: Mapping[str, Any], samples: int) -> Table:
    table = Table(title=_line(f"{name}  ({suite['all']['grader']})"), title_justify="left", width=TABLE_WIDTH)
    table.add_column("environment", no_wrap=True, ratio=1)
    for column in ("prompts", f"avg@{samples}", f"pass@{samples}", "tokens", "cut", "invalid"):
        table.add_column(column, justify="right", no_wrap=True)
    rows = [*suite["environments"].items(), (ALL, suite["all"])]
    for place, (environment, row) in enumerate(rows):
        passed = row["pass"].get(str(samples))
        table.add_row(
            _line(environment),
            str(row["prompts"]),
            _estimate(row["avg"], 3),
            _estimate(passed, 3),
            _estimate(row["tokens"], 1),
            f"{row['truncated_fraction']:.0%}",
            str(row["invalid"]),
            end_section=place == len(rows) - 2,
        )
    return table


def comparison_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Before and after, environment by environment, with the gain's 95 % interval and p-value."""
    table = Table(title=_line(title), title_justify="left", width=TABLE_WIDTH)
    table.add_column("environment", no_wrap=True, ratio=1)  # what is left: a long name must not cut the numbers
    for column in ("prompts", "before", "after", "gain [95 %]", "p"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        gain = row["comparison"]
        table.add_row(
            _line(row["environment"]),
            str(gain["prompts"]),
            _estimate(row["before"], 3),
            _estimate(row["after"], 3),
            f"{gain['difference']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]",
            f"{gain['p_value']:.4f}",
        )
    return table


def _print_comparison(compared: Mapping[str, Any], console: Console) -> None:
    for name, rows in compared["suites"].items():
        console.print(comparison_table(f"{name}: {compared['before']} -> {compared['after']}", rows))
    if compared["only_before"] or compared["only_after"]:
        left = f"{compared['only_before']} only before, {compared['only_after']} only after"
        console.print(_line(f"Compared are the {compared['shared']} problems that both have scored ({left})."))


def _print_contamination(found: Mapping[str, Any], console: Console) -> None:
    table = Table(title=_line(f"against {found['training_texts']} training problems of {found['run']}"), title_justify="left")
    for column in (
        "suite",
        "problems",
        "environments trained on",
        "same problem",
        f"shared {found['ngram_words']}-gram",
        "most",
    ):
        table.add_column(column, justify="left" if column == "suite" else "right")
    for name, row in found["suites"].items():
        worst = row["worst"]
        most = "0%" if worst is None else f"{worst['shared_fraction']:.0%}"
        counts = (row["problems"], row["environments_trained_on"], row["exact"], row["sharing_ngrams"])
        table.add_row(_line(name), *map(str, counts), most)
    console.print(table)
    worst = max((row["worst"] for row in found["suites"].values() if row["worst"]), key=_shared_fraction, default=None)
    if worst is not None:
        console.print(_line(f"The most alike, of {worst['environment']}: {_one_line(worst['problem'])}"))
        console.print(_line(f"and in training: {_one_line(worst['training_text'])}"))


def _shared_fraction(worst: Mapping[str, Any]) -> float:
    return worst["shared_fraction"]


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]


def _line(text: str) -> Text:
    return Text(printable(text, 400))


def _estimate(row: Mapping[str, Any] | None, digits: int) -> str:
    if row is None:
        return "-"
    spread = f" ± {row['standard_error']:.{digits}f}" if row["prompts"] > 1 else ""
    return f"{row['mean']:.{digits}f}{spread}"
