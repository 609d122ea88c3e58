"""The kernel's side of containment: namespaces, resource limits, capabilities, Landlock and the system-call filter.

Each layer stands alone, so that a machine without one still has the others and a test can take one away. Standard library
only. Deliberately left out: cgroups (rarely writable where this runs) and gVisor or microVMs (see README.md, tier 0).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import struct
import sys
from dataclasses import dataclass

from env_synth.sandbox.seccomp import build_filter

SPARE_UID = 64_713  # an account nobody uses: what a worker becomes when the host runs as root
DESCRIPTORS = 32
WORKER_CPU_S = 600  # of its whole life; the backstop behind the host's limit on each call

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
SECCOMP_MODE_FILTER = 2
CAPABILITY_VERSION = 0x20080522
LANDLOCK_CREATE, LANDLOCK_RESTRICT = 444, 446  # the same numbers on every architecture
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE, MNT_DETACH = 1, 2, 4, 8, 16384, 1 << 18, 2
# handled_access_fs bits by Landlock ABI: 13 in the first, then refer, truncate and (in the fifth) device ioctl.
LANDLOCK_FS_BITS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
LANDLOCK_NET_BITS, LANDLOCK_SCOPE_BITS = 0b11, 0b11  # bind and connect TCP; abstract sockets and signals


@dataclass(frozen=True)
class Layers:
    """Which layers to use. All of them, except in tests that show what each is for."""

    namespaces: bool = True
    spare_uid: bool = True
    limits: bool = True
    capabilities: bool = True
    landlock: bool = True
    seccomp: bool = True
    audit: bool = True


@dataclass(frozen=True)
class Prepared:
    """What a zygote makes once for all of its workers."""

    layers: Layers
    address_space_mib: int
    parent_pidfd: int  # the zygote itself; -1 where there are no pidfds
    landlock_ruleset: int = -1
    seccomp_filter: bytes = b""
    change_uid: bool = False


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def _prctl(option: int, value: int, what: str, third: int = 0) -> None:
    arguments = [ctypes.c_ulong(number) for number in (value, third, 0, 0)]
    _check(_libc.prctl(ctypes.c_int(option), *arguments), what)


# ---------------------------------------------------------------------------------------------- namespaces


def enter_namespaces() -> None:
    """Moves this single-threaded process into new user, pid, network, mount, IPC and UTS namespaces on an empty root.

    Root inside the user namespace is the spare account outside when the host runs as root, else the caller's own. The pid
    namespace takes effect for the next child. Raises OSError where the kernel refuses; the process is then unusable.
    """
    as_root = os.geteuid() == 0
    outside_uid, outside_gid = (SPARE_UID, SPARE_UID) if as_root else (os.geteuid(), os.getegid())
    if as_root:
        os.setgroups([])
    mapper, go = _fork_mapper(os.getpid(), outside_uid, outside_gid)
    try:
        os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWPID | os.CLONE_NEWNS | os.CLONE_NEWNET | os.CLONE_NEWIPC | os.CLONE_NEWUTS)
        os.write(go, b"1")
    finally:
        os.close(go)
        status = os.waitpid(mapper, 0)[1]
    if status:
        raise OSError(os.waitstatus_to_exitcode(status), "mapping the user namespace's accounts was refused")
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    _empty_root()


def _fork_mapper(target: int, uid: int, gid: int) -> tuple[int, int]:
    """Forks a process that stays outside and maps inside-root to (uid, gid) once a byte arrives on the returned pipe."""
    wait, go = os.pipe()
    child = os.fork()
    if child:
        os.close(wait)
        return child, go
    code = 0
    try:
        os.close(go)
        if os.read(wait, 1):
            for name, text in (("setgroups", "deny"), ("gid_map", f"0 {gid} 1"), ("uid_map", f"0 {uid} 1")):
                with open(f"/proc/{target}/{name}", "w") as file:
                    file.write(text)
    except OSError as error:
        code = error.errno or 1
    os._exit(code)


def _empty_root() -> None:
    """Replaces the whole file tree by an empty read-only one: everything a worker needs is already in memory."""

    def mount(source: bytes | None, target: bytes, kind: bytes | None, flags: int, data: bytes | None) -> None:
        _check(_libc.mount(source, target, kind, ctypes.c_ulong(flags), data), f"mount on {target.decode()}")

    mount(None, b"/", None, MS_REC | MS_PRIVATE, None)
    mount(b"none", b"/proc", b"tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, b"size=4k,mode=555")
    os.chdir("/proc")
    _check(_libc.syscall(_PIVOT_ROOT, b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", MNT_DETACH), "umount of the old root")
    os.chdir("/")


_PIVOT_ROOT = 41 if os.uname().machine == "aarch64" else 155


def fork_in_new_pid_namespace(own_pidfd: int) -> int:
    """os.fork, the child being the first process of a pid namespace of its own. Needs `enter_namespaces` before."""
    os.setns(own_pidfd, os.CLONE_NEWPID)  # leaves the namespace made for the child before; a second unshare needs that
    os.unshare(os.CLONE_NEWPID)
    return os.fork()


# ---------------------------------------------------------------------------------------------- once a zygote


def restrict_zygote() -> None:
    """What the zygote gives up for itself and every worker: gaining privileges, being traced, core dumps."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1, "no_new_privs")
    _drop_bounding_set()
    _prctl(PR_SET_DUMPABLE, 0, "not dumpable")


def _drop_bounding_set() -> None:
    if os.geteuid():
        return  # without capabilities there is nothing to drop, and the call would be refused
    capability = 0
    while _libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) == 0 and capability < 64:
        capability += 1


def die_with_parent() -> None:
    """SIGKILL for this process when its parent ends; to be set after any change of account, which clears it."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL, "parent-death signal")


def landlock_abi() -> int:
    """The kernel's Landlock version, 0 where it has none."""
    return max(0, _libc.syscall(LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(1)))


def landlock_ruleset() -> int:
    """Descriptor of a ruleset that allows nothing: no path, no TCP port, no signal beyond the worker. Raises OSError."""
    abi = landlock_abi()
    if not abi:
        raise OSError(38, "the kernel has no Landlock")
    fields = [(1 << LANDLOCK_FS_BITS.get(abi, 16)) - 1]
    if abi >= 4:
        fields.append(LANDLOCK_NET_BITS)
    if abi >= 6:
        fields.append(LANDLOCK_SCOPE_BITS)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    created = _libc.syscall(LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0))
    return _check(created, "landlock_create_ruleset")


def seccomp_filter() -> bytes:
    """The filter for this machine. Raises OSError where there is no table for it."""
    try:
        return build_filter(os.uname().machine)
    except KeyError as error:
        raise OSError(38, str(error)) from None


# ---------------------------------------------------------------------------------------------- once a worker


def lock(prepared: Prepared) -> None:
    """Locks this freshly forked process for good, cheapest and most reversible first. Raises OSError: then exit at once."""
    layers = prepared.layers
    if prepared.change_uid:
        os.setgroups([])
        os.setresgid(SPARE_UID, SPARE_UID, SPARE_UID)
        os.setresuid(SPARE_UID, SPARE_UID, SPARE_UID)
    if layers.limits:
        _limit(prepared.address_space_mib)
    if layers.capabilities:
        _drop_capabilities()
    if prepared.parent_pidfd >= 0:
        _prctl(PR_SET_DUMPABLE, 0, "not dumpable")
        die_with_parent()
        watch = select.poll()
        watch.register(prepared.parent_pidfd, select.POLLIN)
        if watch.poll(0):
            os._exit(0)  # the parent ended before the signal was set
        os.close(prepared.parent_pidfd)
    if prepared.landlock_ruleset >= 0:
        restricted = _libc.syscall(LANDLOCK_RESTRICT, ctypes.c_int(prepared.landlock_ruleset), ctypes.c_uint(0))
        _check(restricted, "landlock_restrict_self")
        os.close(prepared.landlock_ruleset)
    if prepared.seccomp_filter:
        code = prepared.seccomp_filter
        program = _FilterProgram(len(code) // 8, code)
        filtered = _libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), ctypes.byref(program), 0, 0)
        _check(filtered, "seccomp filter")


def _limit(address_space_mib: int) -> None:
    limits = {
        "RLIMIT_AS": address_space_mib << 20,
        "RLIMIT_CPU": WORKER_CPU_S,
        "RLIMIT_FSIZE": 0,
        "RLIMIT_NOFILE": DESCRIPTORS,
        "RLIMIT_NPROC": 0,
        "RLIMIT_CORE": 0,
        "RLIMIT_MEMLOCK": 0,
        "RLIMIT_MSGQUEUE": 0,
    }
    for name, value in limits.items():
        number = getattr(resource, name, None)
        if number is not None:
            with contextlib.nullcontext() if sys.platform == "linux" else contextlib.suppress(ValueError, OSError):
                resource.setrlimit(number, (value, value))


def _drop_capabilities() -> None:
    _libc.prctl(PR_CAP_AMBIENT, ctypes.c_ulong(PR_CAP_AMBIENT_CLEAR_ALL), 0, 0, 0)  # refused by kernels without them
    header = struct.pack("=Ii", CAPABILITY_VERSION, 0)
    _check(_libc.capset(header, bytes(24)), "dropping capabilities")
