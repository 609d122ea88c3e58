"""Every act below is tried from inside `verify`, and must end in one of the classes beside it, on every tier.

`bare` runs without the audit hook, so that it is the kernel that refuses. Afterwards nothing of the host may have changed.
An attack that gets what it wanted raises Leaked, which no expectation allows.
"""

import os
import socket
import sys
import textwrap

import pytest

from env_synth.config import SandboxConfig
from env_synth.sandbox.host import Sandbox, Tier, Worker
from env_synth.sandbox.lockdown import Layers

TEMPLATE = '''
import array, ctypes, gc, os, re, select, signal, socket, sys, time, types, _thread, errno, json, struct, resource, builtins

class Leaked(Exception): pass

def library():
    return ctypes.CDLL(None, use_errno=True)

def call(number, *arguments):
    """A raw system call; getting through is a leak."""
    result = library().syscall(ctypes.c_long(number), *[ctypes.c_long(a) for a in arguments])
    if result != -1:
        raise Leaked(number, result)

class Attack:
    family, answer_type, answer_format, max_level = "compute", "int", "one integer", 5
    def generate(self, rng, level): return {}, {}
    def render(self, public): return "x" * 50
    def reference(self, public, private): return "1"
    def verify(self, public, answer, reference):
        if answer != "attack":
            return 1.0
BODY
        return 0.0
'''
REFUSED = {"denied", "syscall_denied"}
HIDDEN = REFUSED | {"graded"}  # the library call fails without a word, which is as good
X86 = os.uname().machine == "x86_64"

PROCESSES = {
    "os_system": ("if os.system('true') == 0: raise Leaked", HIDDEN),
    "fork": ("os.fork()", REFUSED),
    "posix_spawn": ("os.posix_spawn('/bin/true', ['true'], {})", REFUSED),
    "execv": ("os.execv('/bin/sh', ['sh'])", REFUSED),
    "forkpty": ("os.forkpty()", REFUSED),
    "library_system": ("if library().system(b'true') == 0: raise Leaked", HIDDEN),
    "library_popen": ("if library().popen(b'true', b'r'): raise Leaked", HIDDEN | {"crash"}),
    "library_vfork": ("if library().fork() >= 0: raise Leaked", HIDDEN),
    "thread": ("_thread.start_new_thread(print, ())", REFUSED | {"exception"}),
    "executable_mapping": (
        "m = library().mmap; m.restype = ctypes.c_long\nif m(None, 4096, 7, 0x22, -1, 0) != -1: raise Leaked", HIDDEN),
    "make_executable": (
        "m = library(); m.mmap.restype = ctypes.c_void_p\na = m.mmap(None, 4096, 3, 0x22, -1, 0)\n"
        "if m.mprotect(ctypes.c_void_p(a), 4096, 5) == 0: raise Leaked", HIDDEN),
    "subprocess": ("import subprocess", {"exception", "denied"}),
    "multiprocessing": ("import multiprocessing", {"exception", "denied"}),
    "import_numpy": ("import numpy", {"exception", "denied"}),
}  # fmt: skip
RAW = {  # name: (x86-64, arm64, arguments)
    "clone": (56, 220, "17, 0, 0, 0, 0"), "clone3": (435, 435, "0, 0"), "execve": (59, 221, "0, 0, 0"),
    "execveat": (322, 281, "0, 0, 0, 0, 0"), "memfd_create": (319, 279, "0, 0"), "shmget": (29, 194, "0, 4096, 0o1777"),
    "kill_everything": (62, 129, "-1, 9"), "kill_first": (62, 129, "1, 15"), "tgkill": (234, 131, "1, 1, 9"),
    "ptrace": (101, 117, "0, 0, 0, 0"), "unshare_user": (272, 97, "0x10000000"), "setns": (308, 268, "0, 0"),
    "io_uring": (425, 425, "1, 0"), "personality": (135, 92, "0x400000"), "setuid_root": (105, 146, "0"),
    "setresuid_root": (117, 147, "0, 0, 0"), "capset": (126, 91, "0, 0"), "bpf": (321, 280, "0, 0, 0"),
    "keyctl": (250, 219, "0, 0, 0"), "perf_event": (298, 241, "0, 0, -1, -1, 0"), "userfaultfd": (323, 282, "0"),
    "kexec": (246, 104, "0, 0, 0, 0"), "init_module": (175, 105, "0, 0, 0"), "reboot": (169, 142, "0, 0, 0, 0"),
    "process_vm_readv": (310, 270, "1, 0, 0, 0, 0, 0"), "process_vm_writev": (311, 271, "1, 0, 0, 0, 0, 0"),
    "pidfd_open": (434, 434, "1, 0"), "pidfd_getfd": (438, 438, "0, 0, 0"), "mount": (165, 40, "0, 0, 0, 0, 0"),
    "umount": (166, 39, "0, 0"), "pivot_root": (155, 41, "0, 0"), "chroot": (161, 51, "0"),
    "open_tree": (428, 428, "-100, 0, 0"), "open_by_handle": (304, 265, "0, 0, 0"), "seccomp_again": (317, 277, "1, 0, 0"),
    "prctl_keep_alive": (157, 167, "1, 0, 0, 0, 0"), "prctl_dumpable": (157, 167, "4, 1, 0, 0, 0"),
    "prctl_new_privs": (157, 167, "38, 0, 0, 0, 0"), "prlimit": (302, 261, "0, 9, 0, 0"), "setsid": (112, 157, ""),
    "sched_affinity": (203, 122, "0, 0, 0"), "setpriority": (141, 140, "0, 0, -5"), "acct": (163, 89, "0"),
    "swapon": (167, 224, "0, 0"), "sethostname": (170, 161, "0, 0"), "settimeofday": (164, 170, "0, 0"),
    "quotactl": (179, 60, "0, 0, 0, 0"), "fanotify": (300, 262, "0, 0"), "inotify": (294, 26, "0"),
    "name_to_handle": (303, 264, "0, 0, 0, 0, 0"), "mq_open": (240, 180, "0, 0, 0, 0"), "semget": (64, 190, "0, 1, 0"),
    "msgget": (68, 186, "0, 0o1777"), "timer_create": (222, 107, "0, 0, 0"), "timerfd": (283, 85, "0, 0"),
    "eventfd": (290, 19, "0, 0"), "epoll": (291, 20, "0"), "signalfd": (289, 74, "-1, 0, 8, 0"),
    "splice": (275, 76, "0, 0, 0, 0, 1, 0"), "sendfile": (40, 71, "1, 0, 0, 1"), "dup": (32, 23, "0"),
    "landlock": (444, 444, "0, 0, 1"), "membarrier": (324, 283, "0, 0"), "pkey_mprotect": (329, 288, "0, 0, 4, 0"),
    "remap_file_pages": (216, 234, "0, 0, 0, 0, 0"), "mlockall": (151, 230, "1"),
    "process_madvise": (440, 440, "0, 0, 0, 0, 0"),
    "kcmp": (312, 272, "1, 1, 0, 0, 0"), "syslog": (103, 116, "2, 0, 0"), "mbind": (237, 235, "0, 0, 0, 0, 0, 0"),
    "not_a_call": (9999, 9999, ""),
}  # fmt: skip
RAW_X86 = {
    "x32_getpid": "0x40000000 | 39", "modify_ldt": "154, 1, 0, 0", "iopl": "172, 3", "ioperm": "173, 0, 1, 1",
    "arch_prctl": "158, 0x1001, 0", "open_old": "2, 0, 0, 0", "vfork": "58",
}  # fmt: skip
FILES = {
    "read_passwd": ("raise Leaked(open('/etc/passwd').read())", REFUSED),
    "read_host_source": (f"raise Leaked(open({__file__!r}).read())", REFUSED),
    "read_canary": ("raise Leaked(open(CANARY).read())", REFUSED),
    "write_canary": ("open(CANARY, 'w').write('x'); raise Leaked", REFUSED),
    "append_canary": ("os.write(os.open(CANARY, os.O_WRONLY | os.O_APPEND), b'x'); raise Leaked", REFUSED),
    "unlink_canary": ("os.unlink(CANARY); raise Leaked", REFUSED),
    "chmod_canary": ("os.chmod(CANARY, 0o777); raise Leaked", REFUSED),
    "chown_canary": ("os.chown(CANARY, 0, 0); raise Leaked", REFUSED),
    "rename_canary": ("os.rename(CANARY, CANARY + 'x'); raise Leaked", REFUSED),
    "truncate_canary": ("os.truncate(CANARY, 0); raise Leaked", REFUSED),
    "utime_canary": ("os.utime(CANARY, (0, 0)); raise Leaked", REFUSED),
    "xattr_canary": ("os.setxattr(CANARY, 'user.a', b'x'); raise Leaked", REFUSED),
    "link_canary": ("os.link(CANARY, CANARY + 'x'); raise Leaked", REFUSED),
    "stat_canary": ("raise Leaked(os.stat(CANARY))", REFUSED),
    "access_canary": ("if os.access(CANARY, os.F_OK): raise Leaked", HIDDEN),
    "write_library": ("open(os.__file__, 'a'); raise Leaked", REFUSED),
    "read_library": ("raise Leaked(open(os.__file__).read())", REFUSED),
    "make_file": ("open('/tmp/left-by-an-attack', 'w'); raise Leaked", REFUSED),
    "make_directory": ("os.mkdir('/tmp/left-by-an-attack'); raise Leaked", REFUSED),
    "make_fifo": ("os.mkfifo('/tmp/left-by-an-attack'); raise Leaked", REFUSED),
    "make_link": ("os.symlink('/', '/tmp/left-by-an-attack'); raise Leaked", REFUSED),
    "list_root": ("raise Leaked(os.listdir('/'))", REFUSED),
    "scan_processes": ("raise Leaked(list(os.scandir('/proc')))", REFUSED),
    "own_memory": ("raise Leaked(open('/proc/self/mem', 'rb+'))", REFUSED),
    "own_environment": ("raise Leaked(open('/proc/self/environ', 'rb').read())", REFUSED),
    "working_directory": ("raise Leaked(os.getcwd())", REFUSED),
    "change_directory": ("os.chdir('/'); raise Leaked", REFUSED),
    "environment_variables": ("if dict(os.environ): raise Leaked(dict(os.environ))", HIDDEN),
    "library_getenv": ("if library().getenv(b'EVOENV_CANARY'): raise Leaked", HIDDEN),
    "device": ("open('/dev/zero', 'rb').read(1); raise Leaked", REFUSED),
    "library_fopen": ("if library().fopen(CANARY.encode(), b'r'): raise Leaked", HIDDEN),
    "inherited_descriptors": (
        "for n in range(3, 64):\n    try:\n        os.lseek(n, 0, 0); raise Leaked(n)\n    except OSError: pass", HIDDEN),
    "write_to_output": ("os.write(1, b'hello'); os.write(2, b'hello'); print('hello')", {"graded"}),
}  # fmt: skip
NETWORK = {
    "tcp_connect": ("s = socket.socket(); s.connect(('127.0.0.1', PORT)); raise Leaked", REFUSED),
    "udp": ("s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'x', ('127.0.0.1', PORT)); raise Leaked", REFUSED),
    "tcp6": ("socket.socket(socket.AF_INET6); raise Leaked", REFUSED),
    "unix": ("socket.socket(socket.AF_UNIX).bind(chr(0) + 'attack'); raise Leaked", REFUSED),
    "socketpair": ("socket.socketpair(); raise Leaked", REFUSED),
    "netlink": ("socket.socket(16, 3, 0); raise Leaked", REFUSED),
    "vsock": ("socket.socket(40, 1, 0); raise Leaked", REFUSED),
    "raw_packets": ("socket.socket(17, 3, 0); raise Leaked", REFUSED),
    "resolver": ("raise Leaked(socket.getaddrinfo('localhost', 80))", REFUSED | {"exception"}),
    "host_name": ("if socket.gethostname() == HOST: raise Leaked", HIDDEN),
}  # fmt: skip
BOMBS = {
    "fork_bomb": ("while True: os.fork()", REFUSED),
    "eight_gib": ("bytes(8 << 30)", {"memory"}),
    "list_of_range": ("list(range(10**12))", {"memory"}),
    "growing_list": ("a = []\nwhile True: a.append(bytes(1 << 20))", {"memory"}),
    "doubling_text": ("a = 'x'\nwhile True: a += a", {"memory", "timeout"}),
    "library_malloc": (
        "m = library().malloc; m.restype = ctypes.c_void_p\nif m(ctypes.c_size_t(8 << 30)): raise Leaked", HIDDEN),
    "descriptors": ("while True: os.dup(0)", REFUSED),
    "pipes": ("while True: os.pipe()", REFUSED),
    "big_power": ("10 ** 10 ** 8", {"timeout", "memory"}),
    "big_factorial": ("import math; math.factorial(10 ** 7)", {"timeout", "memory"}),
    "output_flood": ("while True: os.write(1, b'x' * 65536)", {"timeout"}),
    "caught_memory": ("while True:\n    try:\n        a = [0] * 10 ** 12\n    except MemoryError: pass", {"timeout"}),
}  # fmt: skip
HANGS = {
    "loop": ("while True: pass", {"timeout"}),
    "regex": ("re.match('(a+)+$', 'a' * 60 + 'b')", {"timeout"}),
    "sum": ("sum(range(10 ** 13))", {"timeout"}),
    "sleep": ("time.sleep(1000)", REFUSED | {"timeout"}),
    "lock_twice": ("lock = _thread.allocate_lock(); lock.acquire(); lock.acquire()", {"timeout"}),
    "doze": ("lock = _thread.allocate_lock(); lock.acquire()\nwhile True: lock.acquire(timeout=0.002)", {"timeout"}),
    "pause": ("signal.pause()", REFUSED | {"timeout", "graded"}),
    "select": ("select.select([], [], [])", REFUSED),
    "ignored_signals": (
        "for n in (1, 2, 15, 24, 26):\n    try: signal.signal(n, signal.SIG_IGN)\n    except OSError: pass\nwhile True: pass",
        {"timeout"}),
    "swallow": ("while True:\n    try:\n        while True: pass\n    except BaseException: pass", {"timeout"}),
    "finalizer": ("class D:\n    def __del__(self):\n        while True: pass\ndel D", {"graded"}),
    "finalizer_runs": ("class D:\n    def __del__(self):\n        while True: pass\nD()", {"timeout"}),
    "hash_collisions": ("class K:\n    def __hash__(self): return 1\nd = {K(): 1 for _ in range(10**6)}", {"timeout"}),
}  # fmt: skip
CRASHES = {
    "deep_recursion": ("def f(): return f()\nf()", {"recursion"}),
    "unlimited_recursion": (
        "sys.setrecursionlimit(10**9)\ndef f(): return f()\nf()", {"crash", "memory", "recursion", "timeout"}),
    "segfault": ("ctypes.string_at(0)", {"crash", "denied"}),
    "faulthandler": ("import faulthandler; faulthandler._sigsegv()", {"crash", "graded"}),
    "abort": ("os.abort()", {"crash"}),
    "exit_process": ("os._exit(0)", {"exit"}),
    "exit_process_3": ("os._exit(3)", {"exit"}),
    "lock_failed_status": ("os._exit(99)", {"exit"}),
    "sys_exit": ("sys.exit(0)", {"exit"}),
    "library_exit": ("library().exit(0)", {"exit", "denied"}),
    "keyboard_interrupt": ("raise KeyboardInterrupt", {"exception"}),
    "generator_exit": ("raise GeneratorExit", {"exception"}),
    "raise_signal": ("signal.raise_signal(9)", REFUSED | {"graded"}),
    "broken_bytecode": (
        "def f(): pass\nf.__code__ = f.__code__.replace(co_code=bytes([100, 255] * 8))\nf()",
        {"crash", "exception", "graded", "timeout", "memory"}),
    "stack_overflow": ("x = ()\nfor _ in range(10**6): x = (x,)\nhash(x)", {"crash", "recursion", "timeout"}),
}  # fmt: skip
PROTOCOL = {
    "close_protocol": ("os.closerange(3, 64)", {"exit", "crash"} | REFUSED),
    "close_each": ("for n in range(3, 64):\n    try: os.close(n)\n    except OSError: pass", {"exit", "crash", "exception"}),
    "garbage": ("SEND(b'\\xff' * 100)", {"bad_output"}),
    "huge_length": ("SEND(b'\\xff\\xff\\xff\\xff')", {"bad_output"}),
    "flood": ("while True: SEND(b'x' * 65536)", {"bad_output"}),
    "forged_id": ("FRAME(b'{\"kind\":\"verified\",\"id\":1,\"values\":\"1\",\"failures\":[]}')", {"bad_output"}),
    "two_replies": ("FRAME(b'{}'); FRAME(b'{}')", {"bad_output"}),
    "partial_then_hang": ("SEND(b'\\0\\0\\0\\x20{\"kind\"')\nwhile True: pass", {"timeout"}),
    "partial_then_exit": ("SEND(b'\\0\\0\\0\\x20{\"kind\"')\nos._exit(0)", {"exit"}),
    "bad_utf8": ("FRAME(b'{\"kind\":\"\\xc3\\x28\"}')", {"bad_output"}),
    "pickle": ("FRAME(b'\\x80\\x04cos\\nsystem\\n(X\\x02\\0\\0\\0idtR.')", {"bad_output"}),
    "deep_reply": ("FRAME(b'[' * 60000)", {"bad_output"}),
    "not_a_number": ("FRAME(b'NaN')", {"bad_output"}),
    "claim_host_fault": ("raise_claim('host_oom')", {"bad_output"}),
    "claim_unknown": ("raise_claim('nothing')", {"bad_output"}),
    "giant_message": ("raise Exception('x' * 10**7)", {"exception"}),
    "escape_message": ("raise Exception(chr(27) + '[2J' + chr(0x202e))", {"exception"}),
    "looping_message": ("class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E", {"timeout"}),
    "failing_message": ("class E(Exception):\n    def __str__(self): raise E\nraise E", {"exception"}),
    "long_name": ("raise type('E' * 10**5, (Exception,), {})", {"exception"}),
    "false_timeout": ("class TimeoutError(Exception): pass\nraise TimeoutError", {"exception"}),
    "read_protocol": ("for n in range(3, 64):\n    try: os.read(n, 1)\n    except OSError: pass", {"timeout"}),
}  # fmt: skip
TAMPERING = {
    "patched_json": (
        "json.dumps = json.loads = lambda *a, **k: '1'\njson.JSONEncoder.encode = lambda *a: '1'", {"graded", "bad_output"}),
    "patched_builtins": ("builtins.type = builtins.len = lambda *a: 1", {"graded", "bad_output", "exception", "exit"}),
    "patched_os": ("os.write = os.read = lambda *a: 1\nos._exit = lambda *a: 1", {"graded"}),
    "frames": ("f = sys._getframe()\nwhile f: f.f_locals.clear(); f = f.f_back", {"graded", "exception", "bad_output"}),
    "append_marks": ("sys._getframe(1).f_locals['marks'].extend('1' * 9)", {"bad_output"}),
    "collector": ("for o in gc.get_objects():\n    if type(o) is dict and 'secret' in o: raise Leaked", {"graded", "denied"}),
    "clear_modules": ("sys.modules.clear()", {"graded", "exception", "exit", "bad_output"}),
    "own_timer": ("signal.setitimer(signal.ITIMER_REAL, 0.01)", REFUSED),
    "own_alarm": ("library().alarm(1)", HIDDEN),
    "trace": ("sys.settrace(lambda *a: os._exit(7)); [].sort()\ndef f(): pass\nf()", {"exit"}),
    "own_hook": ("sys.addaudithook(lambda *a: None)", {"graded", "denied", "exception"}),
    "exit_handler": ("import atexit; atexit.register(print)", {"graded"}),
    "limits_up": ("resource.setrlimit(resource.RLIMIT_AS, (-1, -1)); raise Leaked", REFUSED | {"exception"}),
    "limits_down": ("resource.setrlimit(resource.RLIMIT_CPU, (1, 1))", REFUSED | {"exception"}),
    "recursion_limit": ("sys.setrecursionlimit(5)", {"graded", "recursion", "exit", "exception"}),
    "write_frozen_class": ("ctypes.memset(id(1), 0, 8)", {"denied", "crash", "graded", "exit", "exception", "bad_output"}),
}  # fmt: skip
VALUES = {
    name: (f"return {expression}", {"bad_output"})
    for name, expression in {
        "infinity": "float('inf')", "minus_one": "-1.0", "nothing": "None", "list": "[1.0]", "overflow": "1e999",
        "not_a_number_value": "float('nan')", "half": "0.5", "true": "True", "integer": "1", "huge": "10 ** 5000",
        "text": "'1.0'", "float_subclass": "type('F', (float,), {})(1.0)", "complex": "1 + 0j", "tiny": "5e-324",
        "equal_to_all": "type('S', (str,), {'__eq__': lambda *a: True, '__hash__': lambda s: 1})()",
        "nearly_one": "1.0000000000000002", "bytes": "b'1'", "a_class": "float",
    }.items()
}  # fmt: skip
SIGNS = {"minus_zero": ("return -0.0", {"graded"})}
RAISED = {
    "raises_memory": ("raise MemoryError", {"memory"}),
    "raises_recursion": ("raise RecursionError", {"recursion"}),
    "raises_permission": ("raise PermissionError", {"exception"}),
    "raises_refusal": ("raise PermissionError(1, 'x')", {"denied"}),
    "raises_group": ("raise BaseExceptionGroup('x', [SystemExit()])", {"exception"}),
    "raises_stop": ("raise StopIteration", {"exception"}),
    "raises_base": ("raise type('B', (BaseException,), {})", {"exception"}),
}
ATTACKS = (
    PROCESSES | FILES | NETWORK | BOMBS | HANGS | CRASHES | PROTOCOL | TAMPERING | VALUES | SIGNS | RAISED
    | {f"call_{name}": (f"call({(x86, arm)[not X86]}, {rest})", HIDDEN) for name, (x86, arm, rest) in RAW.items()}
    | ({f"call_{name}": (f"call({rest})", HIDDEN) for name, rest in RAW_X86.items()} if X86 else {})
)  # fmt: skip
HELPERS = """
def SEND(data):
    for n in range(3, 64):
        try: os.write(n, data)
        except OSError: pass

def FRAME(body):
    SEND(len(body).to_bytes(4) + body)

def raise_claim(name):
    loop = sys._getframe(2).f_back
    while "identifier" not in loop.f_locals: loop = loop.f_back
    number = loop.f_locals["identifier"]
    FRAME(json.dumps({"kind": "failed", "id": number, "failure": [name, "x"]}).encode())
    while True: pass
"""
TIERS = {
    "tier1": Layers(),
    "tier1-bare": Layers(audit=False),
    "tier2-bare": Layers(namespaces=False, audit=False),
}
CONFIG = SandboxConfig(verify_timeout_s=0.1)


def source_of(body: str, constants: str) -> str:
    return constants + TEMPLATE.replace("BODY", textwrap.indent(body, " " * 8)) + HELPERS


@pytest.fixture(scope="module")
def canary(tmp_path_factory):
    """(constants for the sources, a check that nothing of the host has changed)."""
    path = tmp_path_factory.mktemp("canary") / "file"
    path.write_text("untouched")
    before = path.stat()
    os.environ["EVOENV_CANARY"] = "secret"
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    constants = f"CANARY = {str(path)!r}\nPORT = {listener.getsockname()[1]}\nHOST = {socket.gethostname()!r}\n"

    def check() -> None:
        assert path.read_text() == "untouched"
        assert (path.stat().st_mode, path.stat().st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
        assert os.environ["EVOENV_CANARY"] == "secret"
        assert not os.path.lexists("/tmp/left-by-an-attack")
        with pytest.raises(BlockingIOError):
            listener.accept()

    yield constants, check
    listener.close()
    del os.environ["EVOENV_CANARY"]


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow if name == "tier1-bare" else []) for name in TIERS],
)
def contained(request, canary):
    """A sandbox of one tier with a sibling worker; at the end nobody is left and no descriptor has leaked."""
    descriptors = len(os.listdir("/proc/self/fd"))
    with Sandbox(CONFIG, TIERS[request.param]) as sandbox:
        tier = sandbox.tier
        if tier != (Tier.FULL if request.param.startswith("tier1") else Tier.FILTERED):
            pytest.skip(f"this machine gives tier {tier.value}")
        with pytest.warns() if tier == Tier.FILTERED else _no_warning():
            sibling = sandbox.open(source_of("pass", canary[0]))
        yield sandbox, sibling
        assert sibling.verify({}, "", None) == 1.0
        pids = [sibling.process.pid]
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
    assert len(os.listdir("/proc/self/fd")) == descriptors


class _no_warning:
    def __enter__(self): ...

    def __exit__(self, *_): ...


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_ends_in_its_class_and_changes_nothing(contained, canary, name):
    sandbox, sibling = contained
    constants, check = canary
    body, expected = ATTACKS[name]
    worker = sandbox.open(source_of(body, constants))
    assert isinstance(worker, Worker), worker
    grade = worker.verify({}, "attack", "1")
    outcome = grade.failure_class.value if not isinstance(grade, float) else "graded"
    assert outcome in expected, grade
    assert grade in (0.0,) or "Leaked" not in grade.detail, grade
    assert isinstance(grade, float) or (grade.detail.isprintable() and len(grade.detail) <= 200)
    assert sibling.alive
    assert sibling.verify({}, "", None) == 1.0
    process = worker.process
    worker.close()
    sandbox.zygote().wait_ended(process)
    assert process.ended
    assert not process.pid or not os.path.exists(f"/proc/{process.pid}")
    check()
