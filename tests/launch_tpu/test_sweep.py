"""A sweep runs what is left, survives failures and stops, and says how it stands.

Training is a double here; test_sweep_ring.py has the real one.
"""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evo_jax.config import Config
from evo_jax.run_directory import as_json
from tests.launch_tpu.conftest import ROOT

# Stands in for evo_jax.train: writes what a run of two steps leaves behind, by the seed it is given.
TRAINING = """
import json, os, signal, sys, time
from pathlib import Path
flags = dict(a.lstrip("-").split("=", 1) for a in sys.argv[3:] if "=" in a)
run = Path(flags["config.run_dir"])
seed = int(flags.get("config.seed", 0))
goes_on = "--resume=auto" in sys.argv and (run / "config.json").is_file()
with open({log!r}, "a") as log:
    log.write(f"{{seed}} {{goes_on}}\\n")
run.mkdir(parents=True, exist_ok=True)
if seed == 13 and not goes_on:
    (run / "config.json").write_text({config!r})
    sys.exit(1)
(run / "config.json").write_text({config!r})
if seed == 7 and not goes_on:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    (run / "ready").touch()
    time.sleep(60)
if seed in (5, 6) and not goes_on:  # told to stop at its end: 5 comes to it, 6 fails at it
    told = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(1))
    (run / "ready").touch()
    while not told:
        time.sleep(0.01)
    if seed == 6:
        sys.exit(1)
(run / "metrics.jsonl").write_text(json.dumps({{"step": 2, "reward": seed / 10}}) + "\\n")
(run / "summary.txt").write_text("done")
"""


@pytest.fixture
def sweep_command(tmp_path: Path) -> list[str]:
    """The sweep with an interpreter whose every start is the double of training."""
    script = tmp_path / "training.py"
    config = json.dumps({"config": as_json(Config(steps=2))})
    script.write_text(TRAINING.format(log=str(tmp_path / "log"), config=config))
    double = tmp_path / "python"
    double.write_text(f'#!/usr/bin/env bash\nexec "{sys.executable}" "{script}" "$@"\n')
    double.chmod(0o755)
    entry = f"import sys; from absl import app; from launch_tpu import sweep; sys.executable = {str(double)!r}"
    entry += "; app.run(sweep.main, flags_parser=sweep.parse_flags)"
    return [sys.executable, "-c", entry, "--config=configs/quickstart.py", f"--root={tmp_path}/sweep", "--metrics=reward"]


def sweep(command: list[str], *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_sweep_skips_what_is_finished(sweep_command: list[str], tmp_path: Path) -> None:
    answer = sweep(sweep_command, "--set=seed=1,2")
    assert answer.returncode == 0, answer.stderr
    assert [line.split()[1:] for line in answer.stdout.splitlines()[-2:]] == [
        ["finished", "2", "0.1"],
        ["finished", "2", "0.2"],
    ]
    answer = sweep(sweep_command, "--set=seed=1,2,3")
    assert answer.stdout.count("finished already") == 2
    assert (tmp_path / "log").read_text().splitlines() == ["1 False", "2 False", "3 False"]


def test_a_failed_run_does_not_end_the_sweep_and_is_tried_again_by_the_next(sweep_command: list[str], tmp_path: Path) -> None:
    answer = sweep(sweep_command, "--set=seed=13,2")
    assert answer.returncode == 1
    assert "1 of 2 runs failed: seed-13-" in answer.stderr
    answer = sweep(sweep_command, "--set=seed=13,2")
    assert answer.returncode == 0
    assert (tmp_path / "log").read_text().splitlines() == ["13 False", "2 False", "13 True"]


def start_sweep(command: list[str], tmp_path: Path, *more: str) -> subprocess.Popen[str]:
    """A sweep whose first run has begun; its double waits for a signal."""
    process = subprocess.Popen([*command, *more], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
    while not list(tmp_path.glob("sweep/*/ready")):
        assert process.poll() is None
        time.sleep(0.01)
    return process


def hearing(command: list[str], number: signal.Signals) -> list[str]:
    """The command, with a signal that is not ignored even where these tests run under nohup or behind a shell's `&`."""
    python, option, entry, *flags = command
    return [python, option, f"import signal; signal.signal({int(number)}, signal.SIG_DFL); {entry}", *flags]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stopped_sweep_goes_on(sweep_command: list[str], tmp_path: Path, number: signal.Signals) -> None:
    process = start_sweep(hearing(sweep_command, number), tmp_path, "--set=seed=7,2")
    process.send_signal(number)
    assert process.wait(timeout=60) == 128 + number
    answer = sweep(sweep_command, "--set=seed=7,2")
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "log").read_text().splitlines() == ["7 False", "7 True", "2 False"]


@pytest.mark.parametrize("seed", [5, 6])
def test_a_sweep_that_is_stopped_starts_no_other_run_whatever_the_last_one_says(
    sweep_command: list[str], tmp_path: Path, seed: int
) -> None:
    process = start_sweep(sweep_command, tmp_path, f"--set=seed={seed},2")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert (tmp_path / "log").read_text().splitlines() == [f"{seed} False"]


def test_a_sweep_that_is_stopped_while_it_starts_a_run_stops_the_run(sweep_command: list[str]) -> None:
    interrupted = """
import os, signal, subprocess
class Popen(subprocess.Popen):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        os.kill(os.getpid(), signal.SIGTERM)
subprocess.Popen = Popen
"""
    python, option, entry, *flags = sweep_command
    answer = sweep([python, option, interrupted + entry, *flags], "--set=seed=7,2")
    assert answer.returncode == 143
    assert "stopped while seed-7-" in answer.stderr


def test_a_sweep_under_nohup_outlives_its_terminal(sweep_command: list[str], tmp_path: Path) -> None:
    process = start_sweep(["nohup", *sweep_command], tmp_path, "--set=seed=7,2")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143


def test_a_dry_run_only_prints(sweep_command: list[str], tmp_path: Path) -> None:
    answer = sweep(sweep_command, "--set=seed=1,2", "--dry_run")
    assert answer.returncode == 0
    assert answer.stdout.count("start.sh") == 2
    assert not (tmp_path / "log").exists()
    assert answer.stdout.splitlines()[-1].split()[1:] == ["new", "0", "-"]


def test_a_sweep_launches_through_a_launcher(tmp_path: Path) -> None:
    flags = tmp_path / "cluster.flags"
    flags.write_text("--launcher=slurm\n--num_nodes=2\n--run_root=/scratch/runs\n")
    command = [sys.executable, "-m", "launch_tpu.sweep", "--config=configs/quickstart.py", f"--through={flags}"]
    answer = sweep(command, "--set=seed=1,2", "--dry_run")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("$ sbatch") == 2
    assert "--config.seed=2" in answer.stdout


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--config=configs/quickstart.py", "--set=sed=1,2"], "the nearest is 'seed'"),
        (["--config=configs/quickstart.py", "--set=seed=1", "--through=none.flags"], "no such file"),
    ],
)
def test_mistakes_are_told_in_a_line(flags: list[str], says: str) -> None:
    answer = sweep([sys.executable, "-m", "launch_tpu.sweep"], *flags)
    assert answer.returncode == 2
    assert says in answer.stderr
    assert "Traceback" not in answer.stderr
