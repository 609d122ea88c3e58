"""Entry: python -m env_synth.admit FILE_OR_DIR... [--registry=PATH] [--json] [--all_stages]

Judges environment sources by every stage that needs no model, each file by itself; copies are looked for only against a
registry that was named. Exit status 0: all were admitted mechanically, 1: any was refused, 2: misuse. Nothing is written
to the registry. Left out: stages that need a model; without them a verdict is `admitted_mechanically`, never `admitted`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from env_synth.admission.pipeline import Admission
from env_synth.admission.records import AdmissionReport, Outcome, StageResult, Verdict
from env_synth.config import EnvSynthConfig
from env_synth.contract import MAX_SOURCE_BYTES, ArchivedSource, Proposal
from env_synth.errors import EnvSynthError
from env_synth.printable import printable
from env_synth.registry import Registry
from env_synth.sandbox.host import Sandbox

MAX_SHOWN_CHARACTERS = 160
READ_BYTES = 64 * MAX_SOURCE_BYTES  # more of a file is not read: S0 refuses it by its size long before


class UsageError(EnvSynthError):
    """A command line that names nothing to judge."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        files = list_sources(options.paths)
        reports = judge_files(files, registry=options.registry, all_stages=options.all_stages)
    except EnvSynthError as error:
        print(f"admit: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps([to_json(file, report) for file, report in zip(files, reports, strict=True)], indent=1))
    else:
        _print_table(files, reports)
    return 0 if all(report.admitted for report in reports) else 1


def list_sources(paths: Sequence[str]) -> list[Path]:
    """The files named, and those ending in .py under the directories named, sorted. Raises UsageError for none."""
    found: list[Path] = []
    for name in paths:
        path = Path(name)
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*.py") if file.is_file() and not file.name.startswith("__"))
            if not inside:
                raise UsageError(f"{path}: no .py file in this directory")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise UsageError(f"{path}: no such file or directory")
    return list(dict.fromkeys(found))


def judge_files(files: Sequence[Path], *, registry: str | None = None, all_stages: bool = False) -> list[AdmissionReport]:
    """One report a file, in order. Raises EnvSynthError where a file, the registry or the sandbox cannot be used."""
    config = EnvSynthConfig()
    proposals = [Proposal(_read(file), origin="file", operator=file.name) for file in files]
    archive: tuple[ArchivedSource, ...] = ()
    if registry is not None:
        with Registry.open(registry, writable=False) as kept:
            archive = kept.archive()
    with Sandbox(config.sandbox) as sandbox:
        return Admission(config.admission, sandbox, archive, config.sandbox).check_many(proposals, all_stages=all_stages)


def to_json(file: Path, report: AdmissionReport) -> dict[str, Any]:
    """What `--json` prints of one file."""
    return {"file": str(file), "verdict": report.verdict.value, **report.to_json()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m env_synth.admit",
        description="Judge environment sources. Exit 0: all admitted mechanically, 1: any refused, 2: misuse.",
        allow_abbrev=False,
    )
    parser.add_argument("paths", nargs="+", metavar="FILE_OR_DIR", help="sources, or directories that hold some")
    parser.add_argument("--registry", metavar="PATH", help="look for copies against this registry")
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    parser.add_argument("--all_stages", action="store_true", help="go on after the first refusal")
    return parser


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(READ_BYTES)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror})") from error
    return data.decode("utf-8", "surrogateescape")  # bytes that are no UTF-8 become surrogates, which S0 refuses


def _print_table(files: Sequence[Path], reports: Sequence[AdmissionReport]) -> None:
    table = Table(title=None)
    for title in ("file", "verdict", "stage", "reason", "evidence", "CPU s"):
        table.add_column(title, justify="right" if title == "CPU s" else "left", overflow="fold")
    for file, report in zip(files, reports, strict=True):
        refused = [result for result in report.stages if result.outcome is Outcome.REFUSED]
        style = "red" if report.verdict is Verdict.REFUSED else "green"
        rows: list[StageResult | None] = [*refused] or [None]
        for place, result in enumerate(rows):
            shown = "" if result is None else printable(json.dumps(result.evidence, ensure_ascii=False), MAX_SHOWN_CHARACTERS)
            table.add_row(
                Text(printable(str(file), 200)) if place == 0 else "",
                Text(report.verdict.value, style=style) if place == 0 else "",
                "" if result is None else result.stage,
                "" if result is None else result.reason,
                Text(shown),
                f"{report.cpu_s:.2f}" if place == 0 else "",
            )
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    admitted = sum(report.admitted for report in reports)
    console.print(f"{admitted} of {len(reports)} admitted mechanically; no model was asked, so none is admitted yet.")


if __name__ == "__main__":
    sys.exit(main())
