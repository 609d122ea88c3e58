"""The clean process that forks one locked worker for each request: no environment variables, no files, no secrets.

It never sees a source or a reply: the host hands it one end of a socket pair and talks to the worker over the other. It
lives as long as the host: it ends when the control socket closes or the host's pidfd says that it is gone, and its workers end
with it. Standard library only; started by `launch`. Deliberately left out: any policy (that is the host's).

Control socket, host to zygote: 8 bytes (ticket) with one descriptor. Zygote to host: `EVENT` records; `F` (forked; value is
the pid or minus the errno, with a pidfd attached) and `X` (ended; value is the wait status).
"""

from __future__ import annotations

import array
import contextlib
import gc
import json
import os
import select
import signal
import socket
import struct
import sys
import warnings
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from env_synth.sandbox import lockdown, preloaded, worker
from env_synth.sandbox.lockdown import Layers, Prepared

EVENT = struct.Struct("<cQqdQ")  # kind, ticket, value, CPU seconds of an ended worker, its peak memory in KiB
LOCK_FAILED = 99  # exit status of a worker that could not lock itself; no environment has been near it


@dataclass
class _Child:
    ticket: int
    pidfd: int


def main(arguments: str) -> None:
    """Runs a zygote. `arguments`: JSON with control, host_pid, layers, address_space_mib."""
    settings = json.loads(arguments)
    control = socket.socket(fileno=settings["control"])
    host = os.pidfd_open(settings["host_pid"]) if hasattr(os, "pidfd_open") else -1
    if os.getppid() != settings["host_pid"]:
        os._exit(0)
    _forget_origins()
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # if memory runs out, a worker goes first
    prepared, errors = _prepare(Layers(**settings["layers"]), settings["address_space_mib"], control)
    evidence = _try_layers(prepared)
    hello = json.dumps({"errors": errors, "evidence": evidence}).encode()
    os.dup2(1, 2)  # until here errors went to the host; from here on nobody reads them
    control.sendall(len(hello).to_bytes(4) + hello)
    assert preloaded
    gc.collect()
    gc.freeze()
    _Zygote(control, host, prepared).run()


def _forget_origins() -> None:
    """Leaves nothing by which a worker could look for files, nor any variable of the environment."""
    warnings.simplefilter("ignore")  # showing one would try to read files, and look like an attack
    sys.path[:] = []
    os.environ.clear()


def _prepare(layers: Layers, address_space_mib: int, control: socket.socket) -> tuple[Prepared, dict[str, str]]:
    """Sets up what the workers share. Returns it with the error of each layer that this machine refused."""
    errors: dict[str, str] = {}
    if sys.platform != "linux":
        errors = dict.fromkeys(("namespaces", "capabilities", "landlock", "seccomp"), f"{sys.platform} has none")
        layers = Layers(False, False, layers.limits, False, False, False, layers.audit)
    as_root = os.geteuid() == 0
    namespaces = layers.namespaces and _can(_rehearse_namespaces, "namespaces", errors)
    if namespaces:
        lockdown.enter_namespaces()
        child = os.fork()  # the first process of the new pid namespace is the zygote; this one only waits for it
        if child:
            control.close()
            os.waitpid(child, 0)
            os._exit(0)
    own_pidfd = os.pidfd_open(os.getpid()) if hasattr(os, "pidfd_open") else -1
    if sys.platform == "linux":
        lockdown.restrict_zygote()
        if namespaces:
            lockdown.die_with_parent()
    ruleset, program = -1, b""
    if layers.landlock:
        try:
            ruleset = lockdown.landlock_ruleset()
        except OSError as error:
            errors["landlock"] = str(error)
    if layers.seccomp:
        try:
            program = lockdown.seccomp_filter()
        except OSError as error:
            errors["seccomp"] = str(error)
    kept = Layers(namespaces, layers.spare_uid, layers.limits, layers.capabilities, ruleset >= 0, bool(program), layers.audit)
    change_uid = as_root and not namespaces and layers.spare_uid
    return Prepared(kept, address_space_mib, own_pidfd, ruleset, program, change_uid), errors


def _rehearse_namespaces() -> None:
    lockdown.enter_namespaces()
    child = os.fork()
    if not child:
        try:
            second = lockdown.fork_in_new_pid_namespace(os.pidfd_open(os.getpid()))
            os._exit(0 if not second else os.waitstatus_to_exitcode(os.waitpid(second, 0)[1]))
        except OSError as error:
            os._exit(error.errno or 1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise OSError(code, f"a pid namespace for a worker: {os.strerror(abs(code))}")


def _can(act: Any, name: str, errors: dict[str, str]) -> bool:
    """Tries `act` in a throwaway child, because half-entered namespaces can't be left again."""
    report, result = os.pipe()
    child = os.fork()
    if not child:
        try:
            act()
            os._exit(0)
        except BaseException as error:
            os.write(result, f"{error}".encode()[:500])
            os._exit(1)
    os.close(result)
    text = os.read(report, 500).decode("utf-8", "replace")
    os.close(report)
    if os.waitpid(child, 0)[1] == 0:
        return True
    errors[name] = text or "the trial ended without a word"
    return False


# ---------------------------------------------------------------------------------------------- evidence


def _try_layers(prepared: Prepared) -> dict[str, bool]:
    """Tries each layer alone, in a throwaway child, by an act that only this layer refuses: {layer: it held}."""
    bare = Layers(prepared.layers.namespaces, *[False] * 6)
    trials: dict[str, tuple[Prepared, Any]] = {}
    if prepared.layers.namespaces:
        trials["namespaces"] = (replace(prepared, layers=bare, **_NO_FILTERS), _look_around)
    if prepared.layers.limits:
        trials["limits"] = (replace(prepared, layers=replace(bare, limits=True), **_NO_FILTERS), _open_many)
    if prepared.layers.capabilities:
        trials["capabilities"] = (replace(prepared, layers=replace(bare, capabilities=True), **_NO_FILTERS), _use_power)
    if prepared.layers.landlock:
        trials["landlock"] = (replace(prepared, layers=bare, seccomp_filter=b""), _open_root)
    if prepared.layers.seccomp:
        trials["seccomp"] = (replace(prepared, layers=bare, landlock_ruleset=-1), os.getcwd)
    held = {name: _holds(*trial) for name, trial in trials.items()}
    if held:
        held["together"] = _holds(prepared, lambda: _raise())
    return held


_NO_FILTERS: dict[str, Any] = {"landlock_ruleset": -1, "seccomp_filter": b""}


def _holds(prepared: Prepared, act: Any) -> bool:
    child = _fork(prepared)
    if not child:
        try:
            lockdown.lock(prepared)
        except BaseException:
            os._exit(LOCK_FAILED)
        try:
            act()
        except OSError:
            os._exit(0)
        except BaseException:
            os._exit(2)
        os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def _look_around() -> None:
    """Refused only if no parent, no file and no network interface but an unused loopback can be seen."""
    if os.getppid() == 0 and os.listdir("/") == [] and [name for _, name in socket.if_nameindex()] == ["lo"]:
        _raise()


def _open_many() -> None:
    for _ in range(2 * lockdown.DESCRIPTORS):
        os.dup(0)


def _use_power() -> None:
    os.unshare(os.CLONE_NEWUTS)


def _open_root() -> None:
    os.close(os.open("/", os.O_RDONLY | os.O_DIRECTORY))


def _raise() -> None:
    raise OSError(1, "refused")


# ---------------------------------------------------------------------------------------------- the loop


def _fork(prepared: Prepared) -> int:
    if prepared.layers.namespaces:
        return lockdown.fork_in_new_pid_namespace(prepared.parent_pidfd)
    return os.fork()


class _Zygote:
    def __init__(self, control: socket.socket, host: int, prepared: Prepared) -> None:
        self.control = control
        self.host = host
        self.prepared = prepared
        self.children: dict[int, _Child] = {}
        self.pids: dict[int, int] = {}  # pidfd -> pid
        self.poll = select.poll()

    def run(self) -> NoReturn:
        self.poll.register(self.control, select.POLLIN)
        timeout = None
        if self.host >= 0:
            self.poll.register(self.host, select.POLLIN)
        else:
            timeout = 50
        while True:
            for descriptor, _ in self.poll.poll(timeout):
                if descriptor == self.host:
                    os._exit(0)
                elif descriptor == self.control.fileno():
                    self._accept()
                else:
                    self._ended(self.pids[descriptor])
            if timeout:
                for pid in list(self.children):
                    self._ended(pid, os.WNOHANG)

    def _accept(self) -> None:
        data, descriptors, _, _ = socket.recv_fds(self.control, 8, 1)
        if len(data) < 8 or not descriptors:
            os._exit(0)
        ticket = int.from_bytes(data)
        try:
            pid = _fork(self.prepared)
        except OSError as error:
            os.close(descriptors[0])
            self._tell(b"F", ticket, -(error.errno or 1))
            return
        if not pid:
            self._become_worker(descriptors[0])
        os.close(descriptors[0])
        pidfd = os.pidfd_open(pid) if self.host >= 0 else -1
        self.children[pid] = _Child(ticket, pidfd)
        if pidfd >= 0:
            self.pids[pidfd] = pid
            self.poll.register(pidfd, select.POLLIN)
        self._tell(b"F", ticket, pid, pidfd=pidfd)

    def _become_worker(self, descriptor: int) -> NoReturn:
        try:
            for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
                signal.signal(ignored, signal.SIG_DFL)
            kept = {descriptor, self.prepared.parent_pidfd, self.prepared.landlock_ruleset}
            low = 3
            for number in sorted(kept):
                os.closerange(low, max(low, number))
                low = max(low, number + 1)
            os.closerange(low, 1 << 20)
            worker.start_fresh()
            lockdown.lock(self.prepared)
        except BaseException:
            os._exit(LOCK_FAILED)
        worker.serve(descriptor, self.prepared.layers.audit)

    def _ended(self, pid: int, flags: int = 0) -> None:
        done, status, usage = os.wait4(pid, flags)
        if not done:
            return
        child = self.children.pop(pid)
        if child.pidfd >= 0:
            self.poll.unregister(child.pidfd)
            del self.pids[child.pidfd]
            os.close(child.pidfd)
        self._tell(b"X", child.ticket, status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)

    def _tell(self, kind: bytes, ticket: int, value: int, cpu_s: float = 0.0, memory_kib: int = 0, *, pidfd: int = -1) -> None:
        attached = []
        if pidfd >= 0:
            attached.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [pidfd])))
        try:
            self.control.sendmsg([EVENT.pack(kind, ticket, value, cpu_s, memory_kib)], attached)
        except OSError:
            os._exit(0)  # the host is gone
