"""Two real processes of a job on this machine, started and looked at from a test."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[3]
TIMEOUT_S = 600
ON_TWO = ("--config.mesh.data=1", "--config.mesh.fsdp=2")


def start_module(*words: str, of_each: Sequence[Sequence[str]] = ((), ())) -> list[subprocess.Popen[str]]:
    """`python -m` these words as two processes of a job, one device each; `of_each` has further words for either."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    started = []
    for index, more in enumerate(of_each):
        job = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": str(index)}
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", *words, *more],
                cwd=ROOT,
                env={**os.environ, **job},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return started


def start(run_dir: Path, policy: Path, *more: str, own_run_dirs: bool = False) -> list[subprocess.Popen[str]]:
    """The ring; with `own_run_dirs` the processes share checkpoint.directory alone."""
    settings = ["--config=tests/tiny_ring.py", f"--config.policy.path={policy}", "--distributed", *ON_TWO]
    directories = [run_dir / f"host-{index}" if own_run_dirs else run_dir for index in range(2)]
    of_each = [[f"--config.run_dir={directory}"] for directory in directories]
    return start_module("evo_jax.train", *settings, *more, of_each=of_each)


def end(processes: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """(exit code, output, errors) of each."""
    try:
        told = [process.communicate(timeout=TIMEOUT_S) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *texts) for process, texts in zip(processes, told, strict=True)]


def kill(job: Sequence[subprocess.Popen[str]], which: int) -> None:
    """Kills one process; the other must say what happened and end."""
    job[which].send_signal(signal.SIGKILL)
    code, _, errors = end(job)[1 - which]
    assert code == 1, errors
    assert "lost another one" in errors, errors
    assert "--resume" in errors
    assert "Traceback" not in errors


def newest(run_dir: Path) -> int:
    """Step of the newest finished checkpoint, 0 where there is none."""
    return max(
        (int(path.parent.name) for path in run_dir.glob("checkpoints/*/state") if path.parent.name.isdecimal()), default=0
    )


def wait_for_a_checkpoint_after(step: int, run_dir: Path) -> None:
    """Returns when there is one."""
    deadline = time.monotonic() + TIMEOUT_S
    while newest(run_dir) <= step:
        assert time.monotonic() < deadline, "no checkpoint in time"
        time.sleep(0.1)


def metrics(run_dir: Path) -> list[dict[str, float]]:
    """The lines of a run."""
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
