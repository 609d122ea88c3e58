"""The way into the sandbox: `Sandbox` opens a locked `Worker` for one source; a worker answers typed calls.

The host trusts no word of a worker. CPU time is read from the kernel, replies are bounded and decoded strictly
(`messages`), and a worker that breaks the protocol is killed. A verdict is decided by CPU time, never by the wall clock: a
worker that could not get the processor in time is the host's fault (`host_overload`), to be retried on a fresh worker; one
that waits without using the processor hangs by its own doing (`timeout`).

Deliberately left out: instances and splits (`env_synth.environment`), many workers at once (`env_synth.scoring`).
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import threading
import time
import warnings
import weakref
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

from env_synth.config import SandboxConfig
from env_synth.contract import EnvironmentInfo, Failure, FailureClass
from env_synth.errors import SandboxError
from env_synth.sandbox import messages
from env_synth.sandbox.launch import HANG_UP_S, Preload, Process, Zygote
from env_synth.sandbox.lockdown import WORKER_CPU_S, Layers
from env_synth.sandbox.worker import READY

OVERLOAD_FACTOR = 10  # a call may wait this many times its CPU limit for the processor
MIN_OVERLOAD_S = 20.0
SLEEP_CHECKS = 3  # looks at a sleeping worker, a few milliseconds apart, before it is called hung
SLEEP_CHECK_S = 0.02
LONGEST_WAIT_S = 0.2  # of one blocking receive
CHUNK = 1 << 16  # a larger buffer would be mapped and unmapped at every call
_TIMEVAL = struct.Struct("@ll")


class Tier(IntEnum):
    """How well this machine contains untrusted code; README.md says what each covers."""

    FULL = 1  # namespaces, Landlock and the system-call filter
    FILTERED = 2  # Landlock and the system-call filter
    PLAIN = 3  # less: model-written code is refused


class TierWarning(UserWarning):
    """Untrusted code runs with fewer layers than it should."""


class Worker:
    """One locked process that holds one environment. Not for use from several threads at once.

    A call is `begin` then `advance` until it returns something (an event loop over many workers), or one of the named
    methods, which wait. After a failure that ended the process, `alive` is False and every call fails.
    """

    info: EnvironmentInfo

    def __init__(self, zygote: Zygote, config: SandboxConfig, stopped: threading.Event) -> None:
        self._config = config
        self._stopped = stopped  # of the sandbox
        self._zygote = zygote
        self._socket, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        # Blocking for `_wait`, which then needs one system call where polling first would take two; the rest asks not to wait.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(0, int(LONGEST_WAIT_S * 1e6)))
        self._process = zygote.fork(far)
        self._identifier = int.from_bytes(os.urandom(4))
        self._operation = ""
        self._outgoing = memoryview(b"")
        self._incoming = bytearray()
        self._cpu_before = 0.0
        self._expected = 0
        self._ready = False  # whether the worker has said that it is locked
        self.alive = True
        self.cpu_s = 0.0  # CPU seconds of the last call that ended

    # ------------------------------------------------------------------------------------------ one call at a time

    def load(self, source: str) -> EnvironmentInfo | Failure:
        """Compiles and runs the source, and reads what its class declares."""
        self.begin_load(source)
        return self.wait_loaded()

    def wait_loaded(self) -> EnvironmentInfo | Failure:
        """Waits for a load that `begin_load` started."""
        return self._wait()

    def generate(self, seed: int, level: int) -> tuple[Any, Any] | Failure:
        """(public, private) as JSON values."""
        self.begin("generate", [seed, level])
        reply = self._wait()
        return reply if isinstance(reply, Failure) else (reply.public, reply.private)

    def render(self, public: Any) -> str | Failure:
        """The prompt's text."""
        self.begin("render", [public])
        reply = self._wait()
        return reply if isinstance(reply, Failure) else reply.text

    def reference(self, public: Any, private: Any) -> str | Failure:
        """The reference answer's text."""
        self.begin("reference", [public, private])
        reply = self._wait()
        return reply if isinstance(reply, Failure) else reply.text

    def count_steps(self, method: str, arguments: Sequence[Any]) -> tuple[str, int] | Failure:
        """(result as text, interpreter instructions executed in the source) of one call of a method other than generate."""
        self.begin("count", [method, list(arguments)])
        reply = self._wait()
        return reply if isinstance(reply, Failure) else (reply.text, reply.steps)

    def verify(self, public: Any, answer: str, reference: str | None) -> float | Failure:
        """1.0, 0.0, or why there is no grade."""
        grades = self.verify_batch([(public, answer, reference)])
        return grades if isinstance(grades, Failure) else grades[0]

    def verify_batch(self, cases: Sequence[tuple[Any, str, str | None]]) -> list[float | Failure] | Failure:
        """One grade a (public, answer, reference), all within the limit of one call; a Failure if the whole batch failed."""
        self.begin_verify([(messages.encode_value(public), reference, [answer]) for public, answer, reference in cases])
        return self._wait()

    # ------------------------------------------------------------------------------------------ for event loops

    def begin_load(self, source: str) -> None:
        """Starts loading; `advance` then gives an EnvironmentInfo or a Failure."""
        self.begin("load", [source])

    def begin_verify(self, cases: Sequence[tuple[str, str | None, Sequence[str]]]) -> None:
        """Starts grading; each case is (public as JSON text, reference, answers). `advance` gives a list of grades."""
        self._expected = sum(len(answers) for _, _, answers in cases)
        self.begin("verify", [cases])

    def begin(self, operation: str, arguments: list[Any]) -> None:
        """Starts a call without waiting. Only one may be under way."""
        self._identifier += 1
        self._operation = operation
        self._expired: Failure | None = None
        try:
            self._outgoing = memoryview(messages.encode([self._identifier, operation, *arguments]))
        except (ValueError, TypeError) as error:
            self._outgoing = memoryview(b"")
            self._expired = Failure(FailureClass.BAD_OUTPUT, f"not JSON: {messages.clean(str(error))}")
        self._started = time.monotonic()
        self._check_at = self._started + self._limit_s
        self._asleep = 0
        self._send()

    def fileno(self) -> int:
        """For selectors; wait for reading, and for writing too while `sends`."""
        return self._socket.fileno()

    @property
    def sends(self) -> bool:
        """True while a request has not left yet."""
        return bool(self._outgoing)

    @property
    def check_at(self) -> float:
        """When (time.monotonic) `advance` must be called even if nothing arrived."""
        return self._check_at

    def advance(self) -> Any:
        """Sends and receives what is possible now. Returns the decoded reply, a Failure, or None if there is neither yet."""
        return self._advance(socket.MSG_DONTWAIT)

    def _advance(self, flags: int) -> Any:
        _require_going(self._stopped)
        if self._expired is not None:
            return self._expired
        if not self.alive:
            return Failure(FailureClass.HOST_OVERLOAD, "the worker had ended before the call")
        self._send()
        limit = self._reply_limit
        try:
            while chunk := self._socket.recv(CHUNK, flags):
                self._incoming += chunk
                if not self._ready:
                    self._ready = True
                    del self._incoming[: len(READY)]
                if len(self._incoming) > 4 + limit:
                    return self._end(Failure(FailureClass.BAD_OUTPUT, f"a reply of more than {limit >> 10} KiB"))
                if len(self._incoming) >= 4 and len(self._incoming) >= 4 + int.from_bytes(self._incoming[:4]):
                    return self._finish()
            return self._diagnose()
        except BlockingIOError:
            if len(self._incoming) >= 4 and int.from_bytes(self._incoming[:4]) > limit:
                return self._end(Failure(FailureClass.BAD_OUTPUT, f"a reply of more than {limit >> 10} KiB"))
        except ConnectionError:
            return self._diagnose()
        return self._check_clocks() if time.monotonic() >= self._check_at else None

    def close(self) -> None:
        """Kills the process. Safe to call twice."""
        if self.alive:
            self._end(Failure(FailureClass.EXIT, "closed by the host"))

    @property
    def process(self) -> Process:
        """The process behind this worker, for measurements."""
        return self._process

    # ------------------------------------------------------------------------------------------ within

    def _wait(self) -> Any:
        while True:
            # A worker that hangs must not keep us past the time to look at its clocks.
            soon = self._check_at - time.monotonic() < LONGEST_WAIT_S
            if self.alive and self._expired is None and (soon or self._outgoing):
                events = select.POLLIN | (select.POLLOUT if self._outgoing else 0)
                waiting = select.poll()
                waiting.register(self._socket, events)
                waiting.poll(max(0.0, self._check_at - time.monotonic()) * 1000 + 1)
            reply = self._advance(socket.MSG_DONTWAIT if soon or self._outgoing else 0)
            if reply is not None:
                return reply

    def _send(self) -> None:
        try:
            while self._outgoing:
                self._outgoing = self._outgoing[self._socket.send(self._outgoing, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            pass
        except OSError:
            self._outgoing = memoryview(b"")  # the worker has ended; receiving finds out how

    def _finish(self) -> Any:
        size = 4 + int.from_bytes(self._incoming[:4])
        if len(self._incoming) > size or self._outgoing:
            return self._end(Failure(FailureClass.BAD_OUTPUT, "more than one reply to a request"))
        try:
            reply = messages.decode(self._operation, self._identifier, bytes(self._incoming[4:]))
            if isinstance(reply, messages.Loaded):
                reply = messages.environment_info(reply.info)
                if isinstance(reply, EnvironmentInfo):
                    self.info = reply
            elif isinstance(reply, messages.Verified):
                reply = messages.grades(reply, self._expected)
        except messages.ReplyError as error:
            return self._end(Failure(FailureClass.BAD_OUTPUT, str(error)))
        self._incoming.clear()
        self._count_cpu()
        return reply

    def _count_cpu(self) -> float:
        self._zygote.wait_forked(self._process)  # a quick worker can answer before the zygote has told its pid
        now = self._process.cpu_clock()
        self.cpu_s = now - self._cpu_before
        self._cpu_before = now
        return self.cpu_s

    @property
    def _limit_s(self) -> float:
        config = self._config
        limits = {"load": config.load_timeout_s, "verify": config.verify_timeout_s}
        return limits.get(self._operation, config.generate_timeout_s)

    @property
    def _reply_limit(self) -> int:
        config = self._config
        return (config.max_verify_reply_kib if self._operation == "verify" else config.max_generate_reply_kib) << 10

    def _check_clocks(self) -> Failure | None:
        """Called past the wall-clock share of a call: decides by CPU time whose fault it is that there is no reply."""
        limit, now = self._limit_s, time.monotonic()
        self._zygote.wait_forked(self._process)
        if self._process.ended:
            return self._diagnose()
        used = self._process.cpu_clock() - self._cpu_before
        if used >= limit:
            return self._end(Failure(FailureClass.TIMEOUT, f"used {limit:g} s of CPU time in {self._operation}"))
        self._asleep = self._asleep + 1 if self._process.sleeps() else 0
        if self._asleep >= SLEEP_CHECKS and not self._outgoing:
            return self._end(Failure(FailureClass.TIMEOUT, f"waits without end in {self._operation}"))
        waited = now - self._started
        if waited > max(OVERLOAD_FACTOR * limit, MIN_OVERLOAD_S) or not self._process.pid:
            detail = f"{self._operation} got {used:.2f} s of CPU time in {waited:.1f} s"
            return self._end(Failure(FailureClass.HOST_OVERLOAD, detail))
        self._check_at = now + (SLEEP_CHECK_S if self._asleep else max(SLEEP_CHECK_S, limit - used))
        return None

    def _diagnose(self) -> Failure:
        """The worker hung up: how did it end?"""
        process = self._process
        self._zygote.wait_forked(process)
        if not self._zygote.wait_ended(process, HANG_UP_S):
            if not process.exits():
                return self._end(Failure(FailureClass.EXIT, "closed its end of the protocol"))
            # Want of memory or of processor time, which may have killed it, can keep its zygote from telling.
            if not self._zygote.wait_ended(process):
                return self._end(Failure(FailureClass.HOST_OVERLOAD, "its zygote has not told in time how the worker ended"))
        if process.lost or process.exit_status is None:
            number = process.fork_errno
            detail = f"fork refused: {os.strerror(number)}" if number else "the worker's zygote ended"
            return self._end(Failure(FailureClass.HOST_OVERLOAD, detail))
        if not self._ready:
            return self._end(Failure(FailureClass.HOST_OVERLOAD, "the worker could not lock itself"))
        return self._end(_how_it_ended(process.exit_status, process.cpu_s))

    def _end(self, failure: Failure) -> Failure:
        self._count_cpu()
        self.alive = False
        self._zygote.kill(self._process)
        self._socket.close()
        return failure


def _how_it_ended(status: int, cpu_s: float) -> Failure:
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return Failure(FailureClass.EXIT, f"the process ended with status {code}")
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    if name == "SIGSYS":
        return Failure(FailureClass.SYSCALL_DENIED, "asked the kernel for what only an attack needs")
    if name == "SIGXCPU" or (name == "SIGKILL" and cpu_s >= WORKER_CPU_S):
        return Failure(FailureClass.TIMEOUT, f"used {cpu_s:.0f} s of CPU time in all")
    if name == "SIGKILL":
        return Failure(FailureClass.HOST_OOM, "killed from outside, most likely for want of memory")
    return Failure(FailureClass.CRASH, name)


def _require_going(stopped: threading.Event) -> None:
    if stopped.is_set():
        raise SandboxError("the sandbox was stopped: nothing more is run in it")


class Sandbox:
    """Opens workers. A context manager; its zygotes start when first needed, one for each hash seed asked for."""

    def __init__(self, config: SandboxConfig, layers: Layers | None = None, preload: Preload | None = None) -> None:
        """`layers`: only for tests, to take a layer away. `preload`: packages that sources of this sandbox may import."""
        config.validate()
        self._config = config
        self._layers = layers or Layers()
        self._preload = preload
        self._zygotes: dict[int, Zygote] = {}
        self._workers: weakref.WeakSet[Worker] = weakref.WeakSet()
        self._warned = False
        self._stopped = threading.Event()

    def __enter__(self) -> Sandbox:
        """The sandbox itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends every process."""
        self.close()

    def stop(self) -> None:
        """From now on whoever wants a worker, or waits for one, gets SandboxError. Safe to call from any thread.

        So that the thread that uses this sandbox soon ends, and another one may `close` it.
        """
        self._stopped.set()

    def close(self) -> None:
        """Ends every zygote and worker, for good. Safe to call twice."""
        self.stop()
        for worker in list(self._workers):
            worker.close()
        for zygote in self._zygotes.values():
            zygote.close()
        self._zygotes.clear()

    def zygote(self, hash_seed: int = 0) -> Zygote:
        """The zygote of a hash seed, started, or started again if it has ended. Raises SandboxError if it can't start."""
        _require_going(self._stopped)
        zygote = self._zygotes.get(hash_seed)
        if zygote is not None and zygote.dead:
            zygote.close()
            zygote = None
        if zygote is None:
            zygote = Zygote(self._layers, self._config.address_space_mib, hash_seed, self._preload)
            self._zygotes[hash_seed] = zygote
        return zygote

    @property
    def tier(self) -> Tier:
        """What this machine reaches, by trial (README.md)."""
        return tier_of(self.zygote().evidence)

    @property
    def containment(self) -> str:
        """The tier in one word, to be stamped into every record of what ran here: tier1, tier2, tier3 or tier3-unsafe."""
        tier = self.tier
        unsafe = tier == Tier.PLAIN and self._config.unsafe_trust_code
        return f"tier{tier.value}{'-unsafe' if unsafe else ''}"

    @property
    def live_workers(self) -> int:
        """Workers alive now, over all zygotes."""
        return sum(zygote.live_workers for zygote in self._zygotes.values() if not zygote.dead)

    @property
    def peak_worker_mib(self) -> float:
        """The most memory that any worker has held, of those that have ended."""
        return max((zygote.peak_memory_kib / 1024 for zygote in self._zygotes.values()), default=0.0)

    def start(self, source: str, *, trusted: bool = False, hash_seed: int = 0) -> Worker:
        """A worker that has been asked to load `source` and has not been waited for: the next `advance` concerns the load.

        `trusted`: the caller has checked that the source is this project's own (by hash), so that it may run where
        model-written code may not. Raises SandboxError where the machine can't contain untrusted code.
        """
        zygote = self.zygote(hash_seed)
        self._admit(tier_of(zygote.evidence), trusted)
        worker = Worker(zygote, self._config, self._stopped)
        self._workers.add(worker)
        worker.begin_load(source)
        return worker

    def open(self, source: str, *, trusted: bool = False, hash_seed: int = 0) -> Worker | Failure:
        """A worker with `source` loaded, or why it could not be; a host fault is retried once. Raises as `start` does."""
        failure = None
        for _ in range(2):
            worker = self.start(source, trusted=trusted, hash_seed=hash_seed)
            reply = worker.wait_loaded()
            if isinstance(reply, EnvironmentInfo):
                return worker
            worker.close()
            failure = reply
            if not failure.failure_class.is_host_fault:
                break
        assert failure is not None
        return failure

    def _admit(self, tier: Tier, trusted: bool) -> None:
        if tier == Tier.FULL or trusted:
            return
        if tier == Tier.PLAIN and not self._config.unsafe_trust_code:
            raise SandboxError(
                "this machine can't contain code written by a model (`python -m env_synth.sandbox` says why): run it in a "
                "Linux container with Landlock and seccomp, or accept the risk with sandbox.unsafe_trust_code, which "
                "every record will carry"
            )
        if not self._warned:
            self._warned = True
            words = {
                Tier.FILTERED: "no namespaces here: model-written code is held by Landlock and seccomp alone (tier 2)",
                Tier.PLAIN: "UNSAFE: model-written code runs uncontained, because sandbox.unsafe_trust_code is set (tier 3)",
            }
            warnings.warn(words[tier], TierWarning, stacklevel=3)


def tier_of(evidence: dict[str, bool]) -> Tier:
    """The tier that the zygote's trials support; a layer counts only if it was seen to refuse something."""
    if not all(evidence.get(name) for name in ("limits", "capabilities", "landlock", "seccomp", "together")):
        return Tier.PLAIN
    return Tier.FULL if evidence.get("namespaces") else Tier.FILTERED
