"""Entry: python -m env_synth.admit FILE_OR_DIR... [--registry=PATH] [--solver=URL --model=NAME] [--json] [--html=OUT]

Judges environment sources, each file by itself; copies and likeness are looked for only against a registry that was named. Exit
status 0: none was refused, 1: any was refused, 2: misuse, or the model cannot be reached. Without a solver a verdict is
`admitted_mechanically`, never `admitted`. With --reports every finished report is on disk before the next one begins, and a
rerun takes up there; reports of other settings or of another version of this code are ignored, and stderr says how many.
Nothing is written to the registry. Left out: writing environments, and training on them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from env_synth.admission.asking import Lent
from env_synth.admission.pipeline import Admission
from env_synth.admission.records import AdmissionReport, Outcome, StageResult, Verdict
from env_synth.config import EnvSynthConfig, SandboxConfig
from env_synth.contract import MAX_SOURCE_BYTES, ArchivedSource, Proposal
from env_synth.errors import EnvSynthError
from env_synth.printable import printable
from env_synth.registry import Registry
from env_synth.report_file import ReportFile, code_digest
from env_synth.report_page import page_of
from env_synth.sandbox.host import Sandbox
from env_synth.solver.http import KEY_VARIABLE, HttpSolver

MAX_SHOWN_CHARACTERS = 160
MAX_ERROR_CHARACTERS = 1000
READ_BYTES = 64 * MAX_SOURCE_BYTES  # more of a file is not read: S0 refuses it by its size long before


class UsageError(EnvSynthError):
    """A command line that names nothing to judge."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if bool(options.solver) != bool(options.model):
        parser.error("--solver=URL and --model=NAME belong together")
    if options.embedder and not options.solver:
        parser.error("--embedder=NAME is a model of the --solver=URL")
    try:
        files = list_sources(options.paths)
        judging = Judging(
            registry=options.registry,
            all_stages=options.all_stages,
            lent=_lent(options),
            workers=options.workers,
            reports=options.reports,
        )
        reports = judge_files(files, judging)
        if options.html:
            _write(Path(options.html), page_of([str(file) for file in files], reports, _note(options)))
    except EnvSynthError as error:
        print(f"admit: {printable(str(error), MAX_ERROR_CHARACTERS)}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps([to_json(file, report) for file, report in zip(files, reports, strict=True)], indent=1))
    else:
        _print_table(files, reports, _note(options))
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


@dataclass(frozen=True)
class Judging:
    """How files are judged. `reports`: a JSONL file that finished reports are appended to and taken up from."""

    registry: str | None = None
    all_stages: bool = False
    lent: Lent | None = None
    workers: int = 2
    reports: str | None = None


def judge_files(files: Sequence[Path], judging: Judging) -> list[AdmissionReport]:
    """One report a file, in order; earlier reports that do not count are named on stderr.

    Raises EnvSynthError where a file, the registry, the sandbox or the model cannot be used.
    """
    config = EnvSynthConfig(sandbox=SandboxConfig(workers=judging.workers))
    config.validate()
    proposals = [Proposal(_read(file), origin="file", operator=file.name) for file in files]
    archive: tuple[ArchivedSource, ...] = ()
    if judging.registry is not None:
        with Registry.open(judging.registry, writable=False) as kept:
            archive = kept.archive()
    found: dict[int, AdmissionReport] = {}
    with ExitStack() as stack:
        kept_reports = None
        if judging.reports is not None:
            kept_reports = stack.enter_context(ReportFile(Path(judging.reports), _settings(judging, config, archive)))
            earlier = [kept_reports.find(str(file), item.environment_id) for file, item in zip(files, proposals, strict=True)]
            found = {place: report for place, report in enumerate(earlier) if report is not None}
            if kept_reports.ignored:
                print(f"admit: {_ignored(judging.reports, kept_reports.ignored)}", file=sys.stderr)
        waiting = [place for place in range(len(proposals)) if place not in found]
        if waiting:
            sandbox = stack.enter_context(Sandbox(config.sandbox))
            admission = Admission(config.admission, sandbox, archive, config.sandbox, judging.lent)
            judged = admission.check_each([proposals[place] for place in waiting], all_stages=judging.all_stages)
            for number, report in judged:
                found[waiting[number]] = report
                if kept_reports is not None:
                    kept_reports.append(str(files[waiting[number]]), report)
    return [found[place] for place in range(len(files))]


def to_json(file: Path, report: AdmissionReport) -> dict[str, Any]:
    """What `--json` prints of one file."""
    return {"file": str(file), "verdict": report.verdict.value, **report.to_json()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m env_synth.admit",
        description="Judge environment sources. Exit 0: none refused, 1: any refused, 2: misuse or no answer from the model.",
        epilog=f"The API key of the solver, if it needs one, is read from the environment variable {KEY_VARIABLE}.",
        allow_abbrev=False,
    )
    parser.add_argument("paths", nargs="+", metavar="FILE_OR_DIR", help="sources, or directories that hold some")
    parser.add_argument("--registry", metavar="PATH", help="look for copies and likeness against this registry")
    parser.add_argument(
        "--solver", metavar="URL", help="an OpenAI-compatible endpoint, up to /v1: run the stages that need a model"
    )
    parser.add_argument("--model", metavar="NAME", help="the model that the endpoint is asked for")
    parser.add_argument(
        "--embedder", metavar="NAME", help="its embedding model; without it N2 needs one where a registry is named"
    )
    parser.add_argument("--workers", type=_count, default=2, metavar="N", help="sandboxes side by side (default 2)")
    parser.add_argument("--reports", metavar="FILE", help="append each finished report to this JSONL file, and resume from it")
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    parser.add_argument("--html", metavar="OUT", help="write a page with stages, evidence and counterexamples")
    parser.add_argument("--all_stages", action="store_true", help="go on after the first refusal")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, got {text!r}")
    return int(text)


def _lent(options: argparse.Namespace) -> Lent | None:
    if not options.solver:
        return None
    config = EnvSynthConfig()
    embedder = HttpSolver(options.solver, options.embedder, config.solver) if options.embedder else None
    return Lent(HttpSolver(options.solver, options.model, config.solver), config.model_stages, embedder)


def _settings(judging: Judging, config: EnvSynthConfig, archive: Sequence[ArchivedSource]) -> dict[str, Any]:
    """All that decides verdicts beside the sources, the judging code too; reports under other settings are not taken up."""
    lent = judging.lent
    return {
        "code": code_digest(),
        "admission": asdict(config.admission),
        "limits": {**asdict(config.sandbox), "workers": 0},
        "archive": sorted((item.environment_id, item.admitted) for item in archive),
        "all_stages": judging.all_stages,
        "model": None if lent is None else [lent.solver.name, lent.embedder.name if lent.embedder else None],
        "model_stages": None if lent is None else asdict(lent.settings),
    }


def _ignored(path: str, count: int) -> str:
    reports = "1 report" if count == 1 else f"{count} reports"
    return printable(f"{path}: {reports} of other settings or another version of this program ignored", MAX_ERROR_CHARACTERS)


def _note(options: argparse.Namespace) -> str:
    if not options.solver:
        return "No model was asked, so none is admitted yet: name one with --solver and --model."
    embedder = f", embeddings by {options.embedder}" if options.embedder else ""
    return f"Model: {options.model}{embedder}."


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--html={path}: cannot be written ({error.strerror})") from error


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(READ_BYTES)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror})") from error
    return data.decode("utf-8", "surrogateescape")  # bytes that are no UTF-8 become surrogates, which S0 refuses


def _print_table(files: Sequence[Path], reports: Sequence[AdmissionReport], note: str) -> None:
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
    admitted = sum(report.verdict is Verdict.ADMITTED for report in reports)
    mechanically = sum(report.verdict is Verdict.ADMITTED_MECHANICALLY for report in reports)
    counts = f"{admitted} admitted, " if admitted else ""
    console.print(Text(f"{counts}{mechanically} of {len(reports)} admitted mechanically. {printable(note, 300)}"))


if __name__ == "__main__":
    sys.exit(main())
