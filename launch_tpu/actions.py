"""The five actions, alike for every launcher: create, run, watch, fetch, delete.

Left out: which commands those are (the launchers), and flags (the entry).
"""

from __future__ import annotations

import json
from pathlib import Path

from launch_tpu.errors import LaunchError
from launch_tpu.jobset import GkeJobSet
from launch_tpu.launcher import Launcher
from launch_tpu.plan import Runner, confirmed
from launch_tpu.settings import Settings
from launch_tpu.skypilot import SkyPilot
from launch_tpu.slurm import Slurm
from launch_tpu.tpu_vm import TpuVm
from launch_tpu.xpk import Xpk

_LAUNCHERS: dict[str, Launcher] = {
    "tpu_vm": TpuVm(),
    "jobset": GkeJobSet(),
    "xpk": Xpk(),
    "skypilot": SkyPilot(),
    "slurm": Slurm(),
}


def create(settings: Settings, runner: Runner, files: Path) -> None:
    """Asks for the machines and starts the run, unless it exists already, which is said and is no error."""
    launcher = _LAUNCHERS[settings.launcher]
    for note in launcher.notes(settings):
        print(f"note: {note}")
    runner.run(launcher.prepare(settings))
    state = _state(settings, runner)
    if runner.dry_run:
        print("# if that names the run: say so and stop; otherwise:")
    elif state is not None:
        print(f"{settings.run_name} exists already: {state}. Nothing was changed (watch it, or delete it first)")
        return
    runner.run(launcher.create(settings, files))


def run(settings: Settings, runner: Runner, files: Path) -> None:
    """Starts the run again on machines that are there."""
    launcher = _LAUNCHERS[settings.launcher]
    steps = launcher.run(settings, files)
    runner.run(launcher.prepare(settings))
    if _state(settings, runner) is None and not runner.dry_run:
        raise LaunchError(f"{settings.run_name} does not exist: create it first")
    runner.run(steps)


def watch(settings: Settings, runner: Runner, lines: int) -> bool:
    """Shows the state and the last `lines` of the log; False where the run does not exist."""
    launcher = _LAUNCHERS[settings.launcher]
    runner.run(launcher.prepare(settings))
    state = _state(settings, runner)
    if state is None and not runner.dry_run:
        print(f"{settings.run_name}: there is no such run")
        return False
    if not runner.dry_run:
        print(f"{settings.run_name}: {state}")
    try:
        log = runner.ask(launcher.logs(settings, lines))
    except LaunchError as error:
        # Machines that are still coming have no log; what the tool said tells which it is.
        print(f"no log yet: {error}")
        return True
    if log is not None:
        print("\n".join(log.splitlines()[-lines:]))
    return True


def fetch(settings: Settings, runner: Runner, destination: Path) -> None:
    """Copies the run directory into `destination`, which ends in the run's name. Existing files are brought up to date."""
    launcher = _LAUNCHERS[settings.launcher]
    steps = launcher.fetch(settings, destination)
    if not runner.dry_run:
        destination.mkdir(parents=True, exist_ok=True)
    runner.run(launcher.prepare(settings))
    runner.run(steps)
    if not runner.dry_run:
        print(f"fetched to {destination}")


def delete(settings: Settings, runner: Runner, *, yes: bool) -> bool:
    """Ends the run and gives the machines back, once the user agreed; False if they did not. A run that is gone is no error."""
    launcher = _LAUNCHERS[settings.launcher]
    runner.run(launcher.prepare(settings))
    state = _state(settings, runner)
    if state is None and not runner.dry_run:
        print(f"{settings.run_name}: there is no such run, nothing to delete")
        return True
    question = f"Delete {settings.run_name} ({state}) and give its machines back?"
    if not runner.dry_run and not confirmed(question, yes=yes):
        print("nothing was deleted")
        return False
    runner.run(launcher.delete(settings))
    return True


def _state(settings: Settings, runner: Runner) -> str | None:
    """How the run stands, or None where it does not exist (and in a dry run)."""
    question = _LAUNCHERS[settings.launcher].state(settings)
    answer = runner.ask(question.command, absent=question.absent)
    if settings.launcher == "skypilot" and answer:
        return _named(answer, settings.run_name)
    return answer or None


def _named(answer: str, run_name: str) -> str | None:
    """SkyPilot answers with all jobs: the status of the one with this name."""
    try:
        jobs = json.loads(answer)
        found = [job for job in jobs if run_name in (job.get("job_name"), job.get("name"))]
    except (ValueError, AttributeError, TypeError) as error:
        raise LaunchError(f"`sky jobs queue --output=json` did not answer a list of jobs: {answer[:200]}") from error
    return str(found[0].get("status", "known")) if found else None
