"""A process of a job under a small parent of its own, which outlives whatever ends it and can still say what happened.

JAX's coordination client aborts a process from a thread of its own as soon as it loses the service, which process 0 holds: no
handler of this program runs then. So the work is done in a child, and the parent, which never imports JAX, tells how it ended.
Left out: starting it again, which is the launcher's (docs/pods.md).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_WHY = {
    signal.SIGABRT: "as a rule because it lost another one, which died or was stopped (JAX's own words are above)",
    signal.SIGKILL: "from outside, or because the machine ran out of memory",
}


def supervised(work: Callable[[], int]) -> int:
    """Does `work` in a child of this process and returns its exit code; to be called while there is one thread.

    Signals that ask to stop are handed on to the child, which ends with this process (on Linux, even with its SIGKILL).
    A child ended by a signal of its own is told of in one line, and gives 1 for SIGABRT, else 128 + signal.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    # They wait to be fetched: a handler could miss the one that comes right before a wait for the child begins.
    awaited = (*_FORWARDED, signal.SIGCHLD)
    usual = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    # Without a handler, even one never called, a system may throw SIGCHLD away.
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, usual)
        _end_with(parent)
        # Out of the terminal's reach: it would send each Ctrl-C to both, and a second one means to stop at once.
        os.setsid()
        # absl's faulthandler walks the stacks of threads that still run, and can crash at it with another signal.
        signal.signal(signal.SIGABRT, signal.SIG_DFL)
        return work()
    ended, status = 0, 0
    while not ended:
        number = signal.sigwait(awaited)
        if number in _FORWARDED:
            os.kill(child, number)
        ended, status = os.waitpid(child, os.WNOHANG)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else _told(signal.Signals(-code))


def _end_with(parent: int) -> None:
    """SIGKILL for this process as soon as `parent` is gone; nothing outside Linux."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _told(killer: signal.Signals) -> int:
    """Says which signal ended the work, and why that may be; returns the exit code."""
    if killer not in _FORWARDED:
        why = _WHY.get(killer, "a crash outside Python (its own words are above)")
        print(
            f"error: a process of the job was ended by {killer.name}, {why}. Start all of them again with --resume",
            file=sys.stderr,
        )
    return 1 if killer is signal.SIGABRT else 128 + killer
