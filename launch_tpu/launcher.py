"""The protocol that every launcher keeps: which commands there are, never their execution.

Left out: order and conditions (`actions.py`), and what is the same for all (`run_command.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from launch_tpu.errors import LaunchError
from launch_tpu.plan import Command, Step
from launch_tpu.settings import Settings


@dataclass(frozen=True)
class Question:
    """A command that tells whether the run exists and how it stands.

    It does not exist where the command fails with `absent` in its error, or answers nothing.
    """

    command: Command
    absent: str = ""


class Launcher(Protocol):
    """What one way of launching does for one run."""

    def prepare(self, settings: Settings) -> tuple[Step, ...]:
        """Comes before every other command, such as fetching a cluster's address."""
        ...

    def state(self, settings: Settings) -> Question:
        """How the run stands."""
        ...

    def create(self, settings: Settings, files: Path) -> tuple[Step, ...]:
        """Asks for the machines and starts the run when they come; files for the tools go to `files`."""
        ...

    def run(self, settings: Settings, files: Path) -> tuple[Step, ...]:
        """Starts the run again on machines that are there. Raises LaunchError where creating is all there is."""
        ...

    def logs(self, settings: Settings, lines: int) -> Command:
        """The last lines of process 0."""
        ...

    def fetch(self, settings: Settings, destination: Path) -> tuple[Step, ...]:
        """Copies the run directory to `destination`. Raises LaunchError where it can't be reached."""
        ...

    def delete(self, settings: Settings) -> tuple[Step, ...]:
        """Ends the run and gives the machines back; the run directory stays."""
        ...

    def notes(self, settings: Settings) -> tuple[str, ...]:
        """What a user should know before creating: limits of this launcher for these settings."""
        ...


def fetch_from_bucket(settings: Settings, destination: Path) -> Command:
    """Copies what the bucket has of the run: its checkpoints, and its directory as it was when training last ended."""
    argv = ("gcloud", "storage", "rsync", settings.bucket_dir, str(destination), "--recursive")
    return Command(argv, "copy the run from the bucket")


def only_create(name: str) -> LaunchError:
    """The error of launchers that hand machines back between runs."""
    return LaunchError(f"--launcher={name} starts the run with `create` and keeps no machines: delete, then create")
