"""The host's hand on one zygote: starts it clean, asks it for workers, learns how they ended, and ends it.

Deliberately left out: what is said to a worker (`host`) and what the layers are (`lockdown`).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from env_synth.errors import SandboxError
from env_synth.sandbox.lockdown import Layers
from env_synth.sandbox.zygote import EVENT

START_TIMEOUT_S = 300.0  # wall clock: a starved machine is slow, not wrong
END_TIMEOUT_S = 10.0
HANG_UP_S = 0.2  # from a dying process's last socket being closed until its status is known, as a rule; memory is freed before
_PF_EXITING = 0x4  # of the kernel's flags of a process: it ends, and will run no code of its own any more
_ROOT = str(Path(__file__).resolve().parents[2])
_BOOT = "from env_synth.sandbox import zygote; zygote.main(sys.argv[2])"


@dataclass(frozen=True)
class Preload:
    """Code of the host's own choice that a zygote runs before it closes itself off, so that its sources may import more.

    `module.preload(argument)` is called in the zygote, with the host's rights, as if the host had called it; the workers are
    locked as ever. Only for packages that a user has installed on purpose (`env_synth.adapters`): a zygote without one is as
    small as before.
    """

    module: str
    argument: str = ""
    import_path: tuple[str, ...] = ()  # directories beside this project's own

    def __post_init__(self) -> None:
        """Refuses what is no module's name, because it becomes part of a statement."""
        if not all(part.isidentifier() for part in self.module.split(".")):
            raise SandboxError(f"a preload needs a module's name, got {self.module!r}")


@dataclass
class Process:
    """What is known of one worker process. Mutable: the zygote's events fill it in."""

    ticket: int
    forked: bool = False
    fork_errno: int = 0
    pid: int = 0  # as the host sees it, 0 where it can't be known
    pidfd: int = -1
    exit_status: int | None = None
    cpu_s: float = 0.0
    memory_kib: int = 0
    lost: bool = False  # the zygote ended first

    @property
    def ended(self) -> bool:
        """True once its exit status is known, or can never be."""
        return self.exit_status is not None or self.fork_errno != 0 or self.lost

    def cpu_clock(self) -> float:
        """CPU seconds used so far, read from the kernel and so beyond the worker's reach; 0.0 where that can't be."""
        if self.exit_status is not None:
            return self.cpu_s
        if not self.pid:
            return 0.0
        try:
            return time.clock_gettime((~self.pid << 3) | 2)  # the kernel's id for a process's clock
        except OSError:
            return self.cpu_s

    def sleeps(self) -> bool:
        """True if it waits for something other than the processor; False too where that can't be known."""
        return self._stat()[:1] == [b"S"]

    def exits(self) -> bool:
        """True once the kernel ends it or has ended it, which it begins before it closes the process's sockets; False too
        where that can't be known."""
        stat = self._stat()
        if stat and (stat[0] in (b"Z", b"X") or int(stat[6]) & _PF_EXITING):
            return True
        return self.pidfd >= 0 and _is_readable(self.pidfd)  # gone already, and its number maybe another's

    def _stat(self) -> list[bytes]:
        """The kernel's words on it from its state on; none where there is no such process, or no /proc."""
        try:
            with open(f"/proc/{self.pid}/stat", "rb") as file:
                return file.read().rpartition(b") ")[2].split()
        except OSError:
            return []


@dataclass
class Zygote:
    """One running zygote. Not for use from several threads at once."""

    layers: Layers
    address_space_mib: int
    hash_seed: int
    preload: Preload | None = None
    errors: dict[str, str] = field(default_factory=dict)
    evidence: dict[str, bool] = field(default_factory=dict)
    dead: bool = False
    peak_memory_kib: int = 0

    def __post_init__(self) -> None:
        """Starts the process and waits until it has tried its layers. Raises SandboxError if it can't start."""
        self._processes: dict[int, Process] = {}
        self._next_ticket = 0
        self._partial = b""
        self._poll = select.poll()
        self._control, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        settings = {
            "control": far.fileno(),
            "host_pid": os.getpid(),
            "layers": asdict(self.layers),
            "address_space_mib": self.address_space_mib,
        }
        paths, first, told = [_ROOT], "", ""
        if self.preload is not None:
            paths += self.preload.import_path
            first, told = f"import {self.preload.module} as first; first.preload(sys.argv[3]); ", self.preload.argument
        boot = f"import json, sys; sys.path[:0] = json.loads(sys.argv[1]); {first}{_BOOT}"
        flags = ["-s", "-S", "-P", "-B", "-X", "utf8"]
        self._child = subprocess.Popen(
            [sys.executable, *flags, "-c", boot, json.dumps(paths), json.dumps(settings), told],
            env={"PYTHONHASHSEED": str(self.hash_seed)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[far.fileno()],
            cwd="/",
            start_new_session=True,
        )
        far.close()
        self._poll.register(self._control, select.POLLIN)
        try:
            hello = json.loads(self._read_exactly(int.from_bytes(self._read_exactly(4))))
        except (OSError, ValueError) as error:
            self._child.kill()
            _, words = self._child.communicate()
            self.dead = True
            last = words.decode("utf-8", "replace").strip().splitlines()[-1:] or [str(error)]
            raise SandboxError(f"the sandbox's zygote did not start: {last[0]}") from None
        assert self._child.stderr is not None
        self._child.stderr.close()
        self.errors, self.evidence = hello["errors"], hello["evidence"]

    def fork(self, worker_end: socket.socket) -> Process:
        """Asks for a locked worker that serves `worker_end`, which is closed here. Does not wait for it."""
        self.pump()  # so that the zygote never waits to be heard
        self._next_ticket += 1
        process = Process(self._next_ticket)
        self._processes[process.ticket] = process
        try:
            socket.send_fds(self._control, [process.ticket.to_bytes(8)], [worker_end.fileno()])
        except OSError:
            self._lose_everything()
        finally:
            worker_end.close()
        return process

    def pump(self, timeout_s: float = 0.0) -> None:
        """Takes in what the zygote reports, waiting up to `timeout_s` for a first report."""
        while not self.dead:
            if not self._poll.poll(timeout_s * 1000):
                return
            timeout_s = 0.0
            try:
                data, descriptors, _, _ = socket.recv_fds(self._control, EVENT.size - len(self._partial), 1)
            except OSError:
                data, descriptors = b"", []
            if not data:
                self._lose_everything()
                return
            self._partial += data
            if descriptors:
                self._pending_pidfd = descriptors[0]
            if len(self._partial) == EVENT.size:
                record, self._partial = self._partial, b""
                self._take(*EVENT.unpack(record))

    def wait_forked(self, process: Process) -> None:
        """Returns once `process` runs, could not be made, or is lost."""
        while not process.forked and not process.ended:
            self.pump(END_TIMEOUT_S)

    def wait_ended(self, process: Process, timeout_s: float = END_TIMEOUT_S) -> bool:
        """Returns True once `process` has ended, False if it still has not when the time is up."""
        deadline = time.monotonic() + timeout_s
        while not process.ended and (left := deadline - time.monotonic()) > 0:
            self.pump(left)
        return process.ended

    def kill(self, process: Process) -> None:
        """SIGKILL, by pidfd: never to a stranger who has inherited the number."""
        self.wait_forked(process)
        if process.ended:
            return
        with contextlib.suppress(ProcessLookupError):
            if process.pidfd >= 0:
                signal.pidfd_send_signal(process.pidfd, signal.SIGKILL)
            else:
                os.kill(process.pid, signal.SIGKILL)

    @property
    def live_workers(self) -> int:
        """Workers that have not been reported as ended."""
        self.pump()
        return len(self._processes)

    def close(self) -> None:
        """Ends the zygote and with it every worker. Safe to call twice."""
        for process in list(self._processes.values()):
            self.kill(process)
        for process in list(self._processes.values()):
            self.wait_ended(process)  # or they would be left to the machine's first process, which may never reap them
        self._control.close()
        try:
            self._child.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._lose_everything()

    def _take(self, kind: bytes, ticket: int, value: int, cpu_s: float, memory_kib: int) -> None:
        process = self._processes[ticket]
        if kind == b"X":
            process.exit_status, process.cpu_s, process.memory_kib = value, cpu_s, memory_kib
            self.peak_memory_kib = max(self.peak_memory_kib, memory_kib)
            self._forget(process)
        elif value < 0:
            process.fork_errno = -value
            self._forget(process)
        else:
            process.pidfd, self._pending_pidfd = self._pending_pidfd, -1
            process.pid = _pid_of(process.pidfd) if process.pidfd >= 0 else value
            process.forked = True

    _pending_pidfd = -1

    def _forget(self, process: Process) -> None:
        if process.pidfd >= 0:
            os.close(process.pidfd)
            process.pidfd = -1
        self._processes.pop(process.ticket, None)

    def _lose_everything(self) -> None:
        self.dead = True
        for process in list(self._processes.values()):
            process.lost = True
            self._forget(process)

    def _read_exactly(self, size: int) -> bytes:
        data = b""
        self._control.settimeout(START_TIMEOUT_S)
        while len(data) < size:
            chunk = self._control.recv(size - len(data))
            if not chunk:
                raise OSError("it ended at once")
            data += chunk
        self._control.settimeout(None)
        return data


def _is_readable(descriptor: int) -> bool:
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(0))


def _pid_of(pidfd: int) -> int:
    """The pid as this process sees it (the zygote lives in another pid namespace)."""
    try:
        with open(f"/proc/self/fdinfo/{pidfd}") as file:
            for line in file:
                if line.startswith("Pid:"):
                    return max(0, int(line.split()[1]))
    except OSError:
        pass
    return 0
