"""The system-call filter of a worker, assembled here as classic BPF: an allow-list, for x86-64 and arm64.

Sixty instructions need no library: libseccomp is missing on many machines, and a worker may load only the standard library.
A test resolves every name below through libseccomp where it is installed. Deliberately left out: 32-bit and x32 callers (any
foreign architecture kills), and argument checks other than PROT_EXEC. Standard library only.
"""

from __future__ import annotations

import struct

EPERM = 1
RET_KILL, RET_ERRNO, RET_ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_SET, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
OFFSET_NUMBER, OFFSET_ARCH, OFFSET_PROT = 0, 4, 32  # fields of struct seccomp_data; prot is the third argument
PROT_EXEC = 4
X32_BIT = 0x40000000

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# name: (x86-64, arm64); -1 where the architecture has no such call. Most frequent first: the filter runs on every call.
ALLOWED: dict[str, tuple[int, int]] = {
    "read": (0, 63), "write": (1, 64), "clock_gettime": (228, 113), "futex": (202, 98), "munmap": (11, 215),
    "brk": (12, 214), "mremap": (25, 216), "madvise": (28, 233), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139), "sigaltstack": (131, 132), "getrandom": (318, 278), "getpid": (39, 172),
    "gettid": (186, 178), "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177),
    "getrusage": (98, 165), "times": (100, 153), "gettimeofday": (96, 169), "time": (201, -1), "clock_getres": (229, 114),
    "sched_yield": (24, 124), "restart_syscall": (219, 128), "close": (3, 57), "exit": (60, 93), "exit_group": (231, 94),
}  # fmt: skip
ALLOWED_WITHOUT_EXEC: dict[str, tuple[int, int]] = {"mmap": (9, 222), "mprotect": (10, 226)}
# Not merely refused: nothing but an attack asks for these, so the worker dies at once and the call is `syscall_denied`.
KILLED: dict[str, tuple[int, int]] = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "mount": (165, 40),
    "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97), "setns": (308, 268),
    "bpf": (321, 280), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "kexec_load": (246, 104), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "open_by_handle_at": (304, 265), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsmount": (432, 432), "mount_setattr": (442, 442), "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440), "seccomp": (317, 277), "swapon": (167, 224), "reboot": (169, 142), "kcmp": (312, 272),
    "modify_ldt": (154, -1), "iopl": (172, -1), "ioperm": (173, -1),
}  # fmt: skip


def build_filter(machine: str) -> bytes:
    """The BPF program for `machine` (os.uname().machine), as the bytes of struct sock_filter[].

    Anything not listed fails with EPERM. Raises KeyError for an architecture without a table.
    """
    column = list(ARCHITECTURES).index(machine) if machine in ARCHITECTURES else -1
    if column < 0:
        raise KeyError(f"no system-call table for {machine}")
    program = [
        (LOAD, 0, 0, OFFSET_ARCH),
        (JUMP_EQUAL, 1, 0, ARCHITECTURES[machine]),
        (RETURN, 0, 0, RET_KILL),
        (LOAD, 0, 0, OFFSET_NUMBER),
    ]
    if machine == "x86_64":
        program += [(JUMP_AT_LEAST, 0, 1, X32_BIT), (RETURN, 0, 0, RET_KILL)]
    for table, verdict in ((ALLOWED, RET_ALLOW), (KILLED, RET_KILL)):
        for numbers in table.values():
            if numbers[column] >= 0:
                program += [(JUMP_EQUAL, 0, 1, numbers[column]), (RETURN, 0, 0, verdict)]
    for numbers in ALLOWED_WITHOUT_EXEC.values():
        program += [
            (JUMP_EQUAL, 0, 4, numbers[column]),
            (LOAD, 0, 0, OFFSET_PROT),
            (JUMP_SET, 0, 1, PROT_EXEC),
            (RETURN, 0, 0, RET_ERRNO | EPERM),
            (RETURN, 0, 0, RET_ALLOW),
        ]
    program.append((RETURN, 0, 0, RET_ERRNO | EPERM))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
