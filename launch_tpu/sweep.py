"""`python -m launch_tpu.sweep --config=FILE --set NAME=VALUE,VALUE ...`: one run a combination, one after another.

Called again it skips what is finished and goes on with what was stopped. `--through=FLAGFILE` launches every point with those
flags of `python -m launch_tpu` in place of running it here; `--dry_run` only prints. Exit codes: 0 all done, 1 a run failed,
2 misuse, 130 interrupted, 143 stopped by SIGTERM (the run under way saves first), 129 by SIGHUP (it does not). Left out: runs
beside each other on one machine, and early stopping.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from launch_tpu.errors import LaunchError
from launch_tpu.flags import parse_flags
from launch_tpu.points import Outcome, Point, grid, outcome, table
from launch_tpu.run_command import SCRIPTS
from launch_tpu.settings import check_overrides

CONFIG = flags.DEFINE_string("config", "", "The config file, as evo_jax.train takes it.")
SET = flags.DEFINE_multi_string("set", [], "NAME=VALUE,VALUE,...: a setting of the config and what it takes on.")
ROOT = flags.DEFINE_string("root", "runs/sweep", "Directory of the sweep; every run has one in it.")
METRICS = flags.DEFINE_list("metrics", ["reward", "solve_rate", "eval/solve_rate"], "Columns of the table.")
THROUGH = flags.DEFINE_string(
    "through", "", "File with flags of `python -m launch_tpu create`: launches in place of running here."
)
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the commands and the table, and do nothing.")

_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_STOPPED = tuple(128 + number for number in _PASSED_ON)
_POLL_S = 0.5


def main(arguments: Sequence[str]) -> int:
    """Runs what is left of the sweep, prints the table and returns the exit code."""
    if len(arguments) > 1 or not CONFIG.value or not SET.value:
        print("error: python -m launch_tpu.sweep --config=FILE --set NAME=VALUE,VALUE [--set ...]", file=sys.stderr)
        return 2
    try:
        points = grid(CONFIG.value, SET.value)
        for point in points:
            check_overrides(CONFIG.value, point.overrides)
        if THROUGH.value and not Path(THROUGH.value).is_file():
            raise LaunchError(f"--through={THROUGH.value}: no such file; it holds flags of python -m launch_tpu, one a line")
        states = [(point, outcome(Path(ROOT.value) / point.name)) for point in points]
    except LaunchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    code = _launch_all(points) if THROUGH.value else _run_all(states)
    if not THROUGH.value:
        print(table([(point, outcome(Path(ROOT.value) / point.name)) for point in points], METRICS.value))
    return code


def local_command(point: Point) -> list[str]:
    """How a point is run here: start.sh, as on every machine, which also decides whether to resume."""
    overrides = [f"--config.{override}" for override in point.overrides]
    return ["bash", str(SCRIPTS / "start.sh"), str(Path(ROOT.value) / point.name), f"--config={CONFIG.value}", *overrides]


def launch_command(point: Point) -> list[str]:
    """How a point is launched elsewhere."""
    overrides = [f"--set={override}" for override in point.overrides]
    command = [sys.executable, "-m", "launch_tpu", "create", f"--flagfile={THROUGH.value}", f"--run_name={point.name}"]
    return [*command, f"--config={CONFIG.value}", *overrides, *(["--dry_run"] if DRY_RUN.value else [])]


def _run_all(states: list[tuple[Point, Outcome]]) -> int:
    failed = []
    for number, (point, how) in enumerate(states, start=1):
        if how.state == "finished":
            print(f"[{number}/{len(states)}] {point.name}: finished already", flush=True)
            continue
        command = local_command(point)
        print(f"[{number}/{len(states)}] {point.name}: {how.state}, step {how.step}\n$ {shlex.join(command)}", flush=True)
        if DRY_RUN.value:
            continue
        code = _run(command)
        if code in _STOPPED:
            print(f"stopped while {point.name} ran: the same command goes on", file=sys.stderr)
            return code
        if code:
            failed.append(point.name)
            print(f"{point.name} failed with exit code {code}; going on with the next", file=sys.stderr)
    if failed:
        print(f"{len(failed)} of {len(states)} runs failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _launch_all(points: list[Point]) -> int:
    codes = [subprocess.run(launch_command(point), check=False).returncode for point in points]
    return max(codes)


def _run(command: list[str]) -> int:
    """Runs a command with this interpreter for training, to its end; its exit code, or 128 + the first signal to stop.

    Signals to stop are passed on. What the command makes of one, by ending well all the same, does not count.
    """
    told: list[int] = []
    # Before there is a child, which a signal in between would leave behind. What is ignored stays so: SIGHUP under nohup.
    heard = [number for number in _PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, lambda number, frame: told.append(number)) for number in heard}
    try:
        child = subprocess.Popen(command, env={**os.environ, "EVO_PYTHON": sys.executable}, start_new_session=True)
        code = _wait(child, told)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if told:
        return 128 + told[0]
    return 128 - code if code < 0 else code


def _wait(child: subprocess.Popen[bytes], told: list[int]) -> int:
    """The child's return code; what comes to be in `told` meanwhile is sent to it, each once."""
    sent = 0
    while child.poll() is None:
        for number in told[sent:]:
            child.send_signal(number)
            sent += 1
        # Not for ever: the wait would not hear of a signal that comes right before it.
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_POLL_S)
    return child.returncode


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
