"""`python -m launch_tpu ACTION --launcher=... --run_name=... --config=...`: create, run, watch, fetch or delete a run.

`--dry_run` prints every command and manifest and does nothing; `--flagfile=FILE` keeps the flags of a project in a file. Exit
codes: 0 done, 1 a tool failed or the user did not agree, 2 misuse.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from launch_tpu import actions
from launch_tpu.errors import LaunchError
from launch_tpu.flags import ACTIONS, define_launch_flags, parse_flags, settings_from_flags
from launch_tpu.plan import Runner

FAILED = 1
MISUSE = 2

define_launch_flags()
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print what would be done, and do nothing.")
YES = flags.DEFINE_bool("yes", False, "delete: do not ask.")
LINES = flags.DEFINE_integer("lines", 20, "watch: how many lines of the log.", lower_bound=1)
EVERY_SECONDS = flags.DEFINE_integer("every_seconds", 0, "watch: again after so many seconds; 0: once.", lower_bound=0)
DESTINATION = flags.DEFINE_string("destination", "runs", "fetch: the directory that the run's directory is copied into.")
FILES = flags.DEFINE_string("files", "runs/launch", "Where scripts and manifests for the tools are written.")


def main(arguments: Sequence[str]) -> int:
    """Does what the action says and returns the exit code."""
    if len(arguments) != 2 or arguments[1] not in ACTIONS:
        print(f"error: say what to do: python -m launch_tpu {{{','.join(ACTIONS)}}} --launcher=...", file=sys.stderr)
        return MISUSE
    runner = Runner(dry_run=DRY_RUN.value)
    try:
        settings = settings_from_flags()
        settings.validate()
    except LaunchError as error:
        print(f"error: {error}", file=sys.stderr)
        return MISUSE
    try:
        match arguments[1]:
            case "create":
                actions.create(settings, runner, Path(FILES.value))
            case "run":
                actions.run(settings, runner, Path(FILES.value))
            case "watch":
                while actions.watch(settings, runner, LINES.value) and EVERY_SECONDS.value and not runner.dry_run:
                    time.sleep(EVERY_SECONDS.value)
            case "fetch":
                actions.fetch(settings, runner, Path(DESTINATION.value) / settings.run_name)
            case "delete":
                return 0 if actions.delete(settings, runner, yes=YES.value) else FAILED
    except LaunchError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
