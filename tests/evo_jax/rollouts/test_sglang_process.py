"""Tests of evo_jax/rollouts/sglang_process.py and of the guard it starts."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from evo_jax.rollouts import sglang_guard
from evo_jax.rollouts.protocol import RolloutError
from evo_jax.rollouts.sglang_client import ServerClient
from evo_jax.rollouts.sglang_process import ServerProcess, fill_command

# A parent that starts a child of its own, as SGLang's launcher does, tells both numbers and waits.
FAMILY = (
    "import os, subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(120)']);"
    "open(sys.argv[1], 'w').write(f'{os.getpid()} {child.pid} '); time.sleep(120)"
)

# In front of what that child does.
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(0, flush=True);"
# A run that starts a server of its own and waits.
STARTER = (
    "import pathlib, sys, time; from evo_jax.rollouts.sglang_process import ServerProcess as S;"
    "here = pathlib.Path(sys.argv[1]);"
    "kept = S(('{python}', '-c', sys.argv[2], str(here / 'pids')), here, here / 'log'); time.sleep(120)"
)
# The guard with a child that is there before Popen has returned, and a signal that comes then.
INTERRUPTED_GUARD = """
import os, signal, subprocess, sys
from evo_jax.rollouts import sglang_guard
class Popen(subprocess.Popen):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        print(self.pid, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
subprocess.Popen = Popen
sys.exit(sglang_guard.main(sys.argv[1:]))
"""
ROOT = Path(__file__).parents[3]


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


def test_what_outlives_the_server_itself_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process with much memory is a while in dying; here its kill comes late."""
    killpg = os.killpg

    def late(group: int, number: int) -> None:
        if number == signal.SIGKILL:
            threading.Timer(0.5, killpg, (group, number)).start()
        else:
            killpg(group, number)

    words = [sys.executable, "-c", FAMILY.replace("import time;", STUBBORN + "import time;"), str(tmp_path / "pids")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"0\n"
        pids = wait_for(lambda: family(tmp_path / "pids"))
        monkeypatch.setattr(os, "killpg", late)
        sglang_guard.end_group(server)
        assert not any(map(is_alive, pids))


def test_servers_end_with_a_run_that_is_killed(tmp_path: Path) -> None:
    run = subprocess.Popen([sys.executable, "-c", STARTER, str(tmp_path), FAMILY], cwd=ROOT)
    pids = wait_for(lambda: family(tmp_path / "pids"))
    assert pids
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert wait_for(lambda: not any(map(is_alive, pids)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL])
def test_servers_end_with_a_run_whose_whole_group_gets_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    """What a terminal does at Ctrl-C, at Ctrl-\\ and when it is closed: the guard must be there to see the run's end."""
    words = [sys.executable, "-c", STARTER, str(tmp_path), FAMILY]
    run = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)
    pids = wait_for(lambda: family(tmp_path / "pids"))
    assert pids
    os.killpg(run.pid, number)
    run.wait()
    assert wait_for(lambda: not any(map(is_alive, pids)))


def test_a_guard_that_is_stopped_while_it_starts_a_server_ends_it(tmp_path: Path) -> None:
    words = [sys.executable, "-c", INTERRUPTED_GUARD, "sleep", "120"]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as guard:
        assert guard.stdout is not None
        child = int(guard.stdout.readline())
        guard.wait(60)
    assert not is_alive(child)


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
