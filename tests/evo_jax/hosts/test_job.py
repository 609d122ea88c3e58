"""A job of two real processes on this machine: the whole ring, and what happens when one of them goes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.evo_jax.hosts.job import ON_TWO, ROOT, TIMEOUT_S, end, kill, metrics, newest, start, wait_for_a_checkpoint_after

type Blow = Callable[[Sequence[subprocess.Popen[str]], int], None]


@pytest.fixture(scope="module")
def whole_run(tiny_policy_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ring on two processes, to its end."""
    run_dir = tmp_path_factory.mktemp("job") / "run"
    for code, _, errors in end(start(run_dir, tiny_policy_path)):
        assert code == 0, errors
    return run_dir


@pytest.mark.slow
def test_two_processes_write_what_one_with_two_devices_writes(whole_run: Path, tiny_policy_path: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "evo_jax.train", "--config=tests/tiny_ring.py", f"--config.run_dir={tmp_path / 'one'}"]
    two_devices = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    subprocess.run(
        [*command, f"--config.policy.path={tiny_policy_path}", *ON_TWO],
        cwd=ROOT,
        env={**os.environ, **two_devices},
        check=True,
        timeout=TIMEOUT_S,
        stdout=subprocess.DEVNULL,
    )
    one, two = metrics(tmp_path / "one"), metrics(whole_run)
    assert [line.keys() for line in one] == [line.keys() for line in two]
    for alone, together in zip(one, two, strict=True):
        assert together == pytest.approx(alone, rel=1e-4, abs=1e-6)


def tell_to_stop(job: Sequence[subprocess.Popen[str]], which: int) -> None:
    """SIGTERM to one process; all must save together and end."""
    job[which].send_signal(signal.SIGTERM)
    ended = end(job)
    assert [code for code, _, _ in ended] == [128 + signal.SIGTERM] * 2, ended
    assert "go on with --resume" in ended[0][1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second"), [((kill, 1), (tell_to_stop, 1)), ((tell_to_stop, 0), (kill, 0))], ids=("follower", "leader")
)
def test_killed_and_told_to_stop_a_job_goes_on(
    first: tuple[Blow, int], second: tuple[Blow, int], whole_run: Path, tiny_policy_path: Path, tmp_path: Path
) -> None:
    run_dir, more = tmp_path / "run", ("--config.checkpoint.in_background=True", "--resume=auto")
    for strike, which in (first, second):
        before = newest(run_dir)
        job = start(run_dir, tiny_policy_path, *more)
        wait_for_a_checkpoint_after(before, run_dir)
        strike(job, which)
    for code, _, errors in end(start(run_dir, tiny_policy_path, *more)):
        assert code == 0, errors
    assert (run_dir / "metrics.jsonl").read_bytes() == (whole_run / "metrics.jsonl").read_bytes()


@pytest.mark.slow
def test_machines_without_a_shared_file_system_are_lost_and_others_go_on(
    whole_run: Path, tiny_policy_path: Path, tmp_path: Path
) -> None:
    kept = f"--config.checkpoint.directory={tmp_path / 'kept'}"
    job = start(tmp_path / "lost", tiny_policy_path, kept, "--resume=auto", own_run_dirs=True)
    deadline = time.monotonic() + TIMEOUT_S
    while not list((tmp_path / "kept").glob("[0-9]/state")):
        assert time.monotonic() < deadline, "no checkpoint in time"
        time.sleep(0.1)
    for process in job:
        process.send_signal(signal.SIGKILL)
    end(job)
    assert not (tmp_path / "lost" / "host-1").exists(), "process 0 alone has a run directory"
    shutil.rmtree(tmp_path / "lost")
    for code, _, errors in end(start(tmp_path / "new", tiny_policy_path, kept, "--resume=auto", own_run_dirs=True)):
        assert code == 0, errors
    found = (tmp_path / "new" / "host-0" / "metrics.jsonl").read_bytes()
    assert found == (whole_run / "metrics.jsonl").read_bytes()


@pytest.mark.slow
def test_a_mistake_at_the_start_ends_all_processes(whole_run: Path, tiny_policy_path: Path) -> None:
    (leader_code, _, leader_errors), (follower_code, _, follower_errors) = end(start(whole_run, tiny_policy_path))
    assert leader_code == 2
    assert "is not empty" in leader_errors
    assert follower_code == 1
    assert "process 0 stopped with an error" in follower_errors
    assert "Traceback" not in leader_errors + follower_errors


def test_a_job_that_the_environment_does_not_name_is_a_clear_mistake(tiny_policy_path: Path, tmp_path: Path) -> None:
    settings = [f"--config.run_dir={tmp_path / 'run'}", f"--config.policy.path={tiny_policy_path}"]
    done = subprocess.run(
        [sys.executable, "-m", "evo_jax.train", "--config=tests/tiny_ring.py", "--distributed", *settings],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 2
    assert "found no job to join" in done.stderr
    assert "Traceback" not in done.stderr
