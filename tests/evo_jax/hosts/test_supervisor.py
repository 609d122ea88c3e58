"""Work under a parent: what its end looks like from outside, however it came about."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TIMEOUT_S = 60
NOTES_SIGNALS = """
got = []
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, _: got.append(number))
print("ready", flush=True)
while not got:
    time.sleep(0.01)
time.sleep(0.3)
print(*got)
return 128 + got[0]
"""
JOINS_A_JOB = """
from evo_jax.hosts.link import join
join()
print("ready", flush=True)
time.sleep(600)
return 0
"""


def start(work: str, **environment: str) -> subprocess.Popen[str]:
    """A process that supervises `work`, the body of a function that returns the exit code and may use os, signal and time."""
    body = "\n".join(f"    {line}" for line in work.strip().splitlines())
    program = (
        "import os, signal, sys, time\nfrom evo_jax.hosts.supervisor import supervised\n"
        f"def work():\n{body}\nsys.exit(supervised(work))\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until_ready(supervisor: subprocess.Popen[str]) -> None:
    assert supervisor.stdout is not None
    assert supervisor.stdout.readline() == "ready\n"


def test_the_exit_code_is_that_of_the_work_and_nothing_is_added() -> None:
    supervisor = start("return 7")
    assert supervisor.communicate(timeout=TIMEOUT_S) == ("", "")
    assert supervisor.returncode == 7


def test_an_abort_is_told_as_the_loss_that_it_usually_is() -> None:
    supervisor = start("os.abort()")
    _, errors = supervisor.communicate(timeout=TIMEOUT_S)
    assert supervisor.returncode == 1
    assert "SIGABRT" in errors
    assert "lost another one" in errors
    assert "--resume" in errors


def test_a_kill_is_told_with_the_code_a_shell_would_give() -> None:
    supervisor = start("os.kill(os.getpid(), signal.SIGKILL)")
    _, errors = supervisor.communicate(timeout=TIMEOUT_S)
    assert supervisor.returncode == 128 + signal.SIGKILL
    assert "ran out of memory" in errors


def test_a_crash_is_told_too() -> None:
    supervisor = start("os.kill(os.getpid(), signal.SIGSEGV)")
    _, errors = supervisor.communicate(timeout=TIMEOUT_S)
    assert supervisor.returncode == 128 + signal.SIGSEGV
    assert "SIGSEGV, a crash outside Python" in errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_stop_reaches_the_work_once(number: signal.Signals) -> None:
    supervisor = start(NOTES_SIGNALS)
    wait_until_ready(supervisor)
    supervisor.send_signal(number)
    assert supervisor.communicate(timeout=TIMEOUT_S)[0] == f"{int(number)}\n"
    assert supervisor.returncode == 128 + number


def test_the_end_of_the_work_is_seen_where_children_used_to_be_ignored() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        supervisor = start("return 7")
    finally:
        signal.signal(signal.SIGCHLD, before)
    supervisor.communicate(timeout=TIMEOUT_S)
    assert supervisor.returncode == 7


@pytest.mark.skipif(sys.platform != "linux", reason="a parent's death is told to its children on Linux alone")
def test_the_work_ends_with_a_killed_supervisor() -> None:
    supervisor = start('print("ready", flush=True)\ntime.sleep(600)\nreturn 0')
    wait_until_ready(supervisor)
    supervisor.kill()
    # The pipes close when the last process that holds them is gone, the worker among them.
    supervisor.communicate(timeout=TIMEOUT_S)
    assert supervisor.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_what_jax_aborts_for_a_dead_coordinator_still_says_so() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    leader, follower = (
        start(JOINS_A_JOB, JAX_COORDINATOR_ADDRESS=address, JAX_NUM_PROCESSES="2", JAX_PROCESS_ID=str(index))
        for index in range(2)
    )
    wait_until_ready(leader)
    wait_until_ready(follower)
    leader.kill()
    _, errors = follower.communicate(timeout=TIMEOUT_S)
    leader.communicate(timeout=TIMEOUT_S)
    assert follower.returncode == 1
    assert "SIGABRT" in errors
    assert "lost another one" in errors
