"""Tests of evo_jax/rollouts/sglang_process.py."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evo_jax.rollouts.protocol import RolloutError
from evo_jax.rollouts.sglang_client import ServerClient
from evo_jax.rollouts.sglang_process import ServerProcess, fill_command

# A parent that starts a child of its own, as SGLang's launcher does, tells both numbers and waits.
FAMILY = (
    "import os, subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(120)']);"
    "open(sys.argv[1], 'w').write(f'{os.getpid()} {child.pid} '); time.sleep(120)"
)


def is_alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition, seconds: float = 60.0):
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return value


def family(path: Path) -> list[int]:
    return [int(word) for word in path.read_text().split()] if path.exists() and path.read_text().endswith(" ") else []


def test_only_the_known_names_are_filled_in(tmp_path: Path) -> None:
    command = ("{python}", "serve.py", "--model-path={model_path}", "--port", "{port}", '--override={"a": 1}')
    expected = [sys.executable, "serve.py", f"--model-path={tmp_path}", "--port", "31000", '--override={"a": 1}']
    assert fill_command(command, tmp_path, 31000) == expected


def test_a_stopped_server_takes_its_children_along(tmp_path: Path) -> None:
    server = ServerProcess(("{python}", "-c", FAMILY, str(tmp_path / "pids")), tmp_path, tmp_path / "log")
    pids = wait_for(lambda: family(tmp_path / "pids"))
    assert all(map(is_alive, pids))
    server.stop()
    assert not any(map(is_alive, pids))


def test_servers_end_with_a_run_that_is_killed(tmp_path: Path) -> None:
    starter = (
        "import pathlib, sys, time; from evo_jax.rollouts.sglang_process import ServerProcess as S;"
        "here = pathlib.Path(sys.argv[1]);"
        "kept = S(('{python}', '-c', sys.argv[2], str(here / 'pids')), here, here / 'log'); time.sleep(120)"
    )
    run = subprocess.Popen([sys.executable, "-c", starter, str(tmp_path), FAMILY], cwd=Path(__file__).parents[3])
    pids = wait_for(lambda: family(tmp_path / "pids"))
    assert pids
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert wait_for(lambda: not any(map(is_alive, pids)))


def test_a_server_that_ends_at_once_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    server = ServerProcess(("{python}", "-c", "import sys; sys.exit('no such model')"), tmp_path, tmp_path / "log")
    with pytest.raises(RolloutError, match=r"status 1.*no such model"):
        server.wait_until_ready(ServerClient(server.url), 60.0, lambda: False)
    server.stop()


def test_a_command_that_does_not_exist_is_an_error_that_names_it(tmp_path: Path) -> None:
    server = ServerProcess(("no-such-server",), tmp_path, tmp_path / "log")
    with pytest.raises(RolloutError, match="no-such-server can't be started"):
        server.wait_until_ready(ServerClient(server.url), 60.0, lambda: False)
    server.stop()


def test_a_server_that_is_never_ready_is_an_error_after_its_time(tmp_path: Path) -> None:
    server = ServerProcess(("{python}", "-c", "import time; time.sleep(120)"), tmp_path, tmp_path / "log")
    with pytest.raises(RolloutError, match="not ready within 1 s"):
        server.wait_until_ready(ServerClient(server.url), 1.0, lambda: False)
    with pytest.raises(RolloutError, match="closed"):
        server.wait_until_ready(ServerClient(server.url), 60.0, lambda: True)
    server.stop()
    assert os.path.exists(tmp_path / "log")
