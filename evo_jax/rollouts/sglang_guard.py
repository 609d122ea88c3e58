"""`python sglang_guard.py COMMAND...`: runs COMMAND in a group of its own and ends all of it with its starter.

The starter holds the other end of this process's standard input. When that closes, by a word or because the starter died of
whatever cause, everything COMMAND started is asked to stop, then killed: an orphaned server would keep an accelerator for ever.
Exits with COMMAND's status. Standard library only. Left out: restarting (`sglang_fleet.py`).
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time

GRACE_S = 5.0
DEATH_S = 5.0
POLL_S = 0.2


def main(command: list[str]) -> int:
    """Runs `command` until it ends or standard input closes; returns its exit status, negative for a signal."""
    told: list[int] = []
    # Before there is a child, which a signal in between would leave behind.
    signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    # The starter decides when this ends: a Ctrl-C meant for it must not take the servers from under its clean-up. A function,
    # as the child would go on ignoring what is ignored here.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"{command[0]} can't be started: {error.strerror}", file=sys.stderr)
        return 127
    while child.poll() is None and not told:
        readable, _, _ = select.select([sys.stdin], [], [], POLL_S)
        if readable and not os.read(sys.stdin.fileno(), 1024):
            break
    end_group(child)
    return child.returncode


def end_group(child: subprocess.Popen[bytes]) -> None:
    """Ends every process of the child's group: asked first, killed after GRACE_S. Returns when nobody is left of it."""
    _signal_group(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline and child.poll() is None:
        time.sleep(POLL_S)
    # The child may be gone and its own children not.
    _signal_group(child.pid, signal.SIGKILL)
    child.wait()
    # They die by themselves and are reaped by init, which some containers lack: there the dead would be waited for for ever.
    deadline = time.monotonic() + DEATH_S
    while time.monotonic() < deadline and _signal_group(child.pid, 0):
        time.sleep(POLL_S)


def _signal_group(group: int, number: int) -> bool:
    """Whether there was anyone in the group to send it to; 0 only asks."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
