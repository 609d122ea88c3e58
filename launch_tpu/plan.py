"""Commands as argument lists, never as shell lines: shown by a dry run, or run with their answers checked and redacted.

Left out: retries, and anything that knows what a command means (the launchers do).
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from launch_tpu.errors import LaunchError
from launch_tpu.redaction import redact


@dataclass(frozen=True)
class Command:
    """One call of a tool. `reason` says what for; `stdin` is given to it."""

    argv: tuple[str, ...]
    reason: str
    stdin: str = ""

    @property
    def shown(self) -> str:
        """As one could type it."""
        return redact(shlex.join(self.argv))


@dataclass(frozen=True)
class FileToWrite:
    """A file that a following command reads."""

    path: Path
    text: str


Step = Command | FileToWrite


class Runner:
    """Carries steps out, or with `dry_run` prints exactly what they are and does nothing."""

    def __init__(self, *, dry_run: bool) -> None:
        self.dry_run = dry_run

    def run(self, steps: tuple[Step, ...]) -> None:
        """All steps in order, what they print passed on. Raises LaunchError at the first that fails."""
        for step in steps:
            if isinstance(step, FileToWrite):
                self._write(step)
                continue
            if self._shown_only(step):
                continue
            print(f"# {step.reason}\n$ {step.shown}", flush=True)
            answer = self._call(step)
            print(redact(answer.stdout + answer.stderr), end="", flush=True)
            if answer.returncode:
                raise LaunchError(f"{step.argv[0]} failed with exit code {answer.returncode} (to {step.reason})")

    def ask(self, command: Command, *, absent: str = "") -> str | None:
        """What a command answers, stripped; None where its error contains `absent`, and in a dry run.

        Raises LaunchError for any other failure.
        """
        if self._shown_only(command):
            return None
        answer = self._call(command)
        if answer.returncode == 0:
            return redact(answer.stdout).strip()
        if absent and absent in answer.stderr:
            return None
        raise LaunchError(f"cannot {command.reason}: {command.argv[0]} said: {redact(answer.stderr).strip()[-800:]}")

    def _shown_only(self, command: Command) -> bool:
        if self.dry_run:
            print(f"# {command.reason}\n$ {command.shown}")
            if command.stdin:
                print(f"# ... reading this:\n{redact(command.stdin).rstrip()}\n# ... end")
        return self.dry_run

    def _write(self, file: FileToWrite) -> None:
        if self.dry_run:
            print(f"# write {file.path}:\n{redact(file.text).rstrip()}\n# end of {file.path}")
            return
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.write_text(file.text, encoding="utf-8")

    def _call(self, command: Command) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(command.argv, input=command.stdin or None, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise LaunchError(f"{command.argv[0]} is not installed here: it is needed to {command.reason}") from error


def confirmed(question: str, *, yes: bool) -> bool:
    """Whether the user agrees: by --yes, or by typing yes at a terminal. Without either nothing is done."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise LaunchError(f"{question} There is no terminal to ask: add --yes")
    return input(f"{question} Type yes: ").strip() == "yes"
