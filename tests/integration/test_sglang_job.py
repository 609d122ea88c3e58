"""A job of two real processes over a real SGLang server: process 0 alone talks to it, both hold the policy."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from evo_jax.rollouts.sglang_process import ServerProcess
from tests.evo_jax.hosts.job import TIMEOUT_S, end, kill, metrics, start, wait_for_a_checkpoint_after
from tests.integration.conftest import SERVE

pytestmark = [pytest.mark.slow, pytest.mark.sglang]

TOLERANCE = 1e-3
AHEAD = (
    "--config.evolve.round_steps=4",
    "--config.rollout.max_completion_tokens=64",
    "--config.rollout.stop=('th',)",  # one token in thirty: long and short completions
    "--config.rollout.max_staleness_steps=2",
    "--config.rollout.oversampling_fraction=0.4",
)


def test_two_processes_train_on_what_a_server_samples_from_their_weights(
    server: ServerProcess, tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    settings = [
        "--config.rollout.engine=sglang",
        f"--config.sglang.urls=('{server.url}',)",
        f"--config.sglang.weights_dir={tmp_path / 'weights'}",
        "--config.sglang.check_weights=every",
        "--config.env_synth.model_stages.stages=('N2',)",
    ]
    for code, _, errors in end(start(tmp_path / "run", tiny("llama"), *settings)):
        assert code == 0, errors[-2000:]
    lines = metrics(tmp_path / "run")
    assert [line["step"] for line in lines] == [0, 1, 2, 3, 4]
    assert [line["policy_version"] for line in lines[1:]] == [1, 2, 3, 4]
    assert all(line["trained_tokens"] > 0 for line in lines[1:])
    # As in the ring of one process: weights that are not the policy's, whole and of this step, would show here.
    assert all(line["sampling/logprob_difference/max"] < TOLERANCE for line in lines[1:])
    assert list((tmp_path / "weights").iterdir()) == []


def servers_below(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The servers that a process of a job started."""
    return [child for child in psutil.Process(process.pid).children(recursive=True) if SERVE[1] in child.cmdline()]


def test_a_job_samples_ahead_and_its_servers_end_with_its_process_0(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    settings = ["--config.rollout.engine=sglang", f"--config.sglang.command={SERVE!r}", *AHEAD]
    job = start(tmp_path / "run", tiny("llama"), *settings)
    try:
        wait_for_a_checkpoint_after(1, tmp_path / "run")
        leads, follows = map(servers_below, job)
    finally:
        kill(job, 0)
    assert leads
    assert not follows
    lines = metrics(tmp_path / "run")
    assert all(line["staleness_steps/max"] <= 2 and line["trained_tokens"] > 0 for line in lines[1:])
    assert lines[1]["staleness_steps"] == 0
    assert lines[1]["sampling/logprob_difference/max"] < TOLERANCE
    assert lines[2]["staleness_steps"] > 0
    deadline = time.monotonic() + TIMEOUT_S
    while any(server.is_running() and server.status() != psutil.STATUS_ZOMBIE for server in leads):
        assert time.monotonic() < deadline, "the servers outlived their job"
        time.sleep(0.2)
