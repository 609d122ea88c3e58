"""Entry: python -m env_synth.export_environment FILE --to=SYSTEM --output=DIR [--name=NAME] [--level=N]

Judges an environment by every stage that needs no model and, where none refuses it, writes it as a package for another system:
`verifiers` or `reasoning_gym`. The report goes along. Exit status 0: written, 1: refused, 2: misuse. Left out: publishing.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from env_synth.adapters.errors import AdapterError
from env_synth.adapters.exports import SYSTEMS, export
from env_synth.admission.pipeline import Admission
from env_synth.config import EnvSynthConfig
from env_synth.contract import MAX_SOURCE_BYTES, Proposal
from env_synth.errors import EnvSynthError
from env_synth.printable import printable
from env_synth.sandbox.host import Sandbox

MAX_SHOWN_CHARACTERS = 2000


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m env_synth.export_environment", description="Write an environment for others."
    )
    parser.add_argument("file", type=Path, help="the environment's source")
    parser.add_argument("--to", choices=SYSTEMS, required=True, help="the system it is written for")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the package becomes a directory in here")
    parser.add_argument("--name", default="", help="the package's name; default: made of the class's")
    parser.add_argument("--level", type=int, help="the level it starts at; default: the middle one")
    options = parser.parse_args(arguments)
    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    try:
        source = _read(options.file)
        config = EnvSynthConfig()
        with Sandbox(config.sandbox) as sandbox:
            report = Admission(config.admission, sandbox).check(Proposal(source, "file", operator=options.file.name))
        if not report.admitted:
            print(f"{options.file}: refused at {report.refused_at}: {report.reason}; not exported", file=sys.stderr)
            return 1
        made = {**report.to_json(), "verdict": report.verdict.value}
        target = export(source, options.to, options.output, report=made, name=options.name, level=options.level)
    except EnvSynthError as error:
        print(f"export: {printable(str(error), MAX_SHOWN_CHARACTERS)}", file=sys.stderr)
        return 2
    print(f"{target}: {report.verdict.value}; install it beside this project, or put it on the Python path")
    return 0


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(4 * MAX_SOURCE_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AdapterError(f"{path}: cannot be read ({error})") from None


if __name__ == "__main__":
    sys.exit(main())
