"""How fast untrusted code is contained, beside three ways of running it that contain less.

Command: python -m benchmarks.sandbox [--quick]. Prints one table and writes results/sandbox.json. The ways are measured in
turn, round after round, so that a busy machine slows all of them; CPU time, of all processes together, is given beside the
wall clock because a busy machine changes it less. A cold check is fork, lock, load, generate, reference, verify and kill. The
other ways run the same work without any lock: `python -c` a call, multiprocessing spawn, and a forkserver.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path

from benchmarks.record import write_record
from env_synth.config import SandboxConfig
from env_synth.contract import Failure
from env_synth.sandbox import messages
from env_synth.sandbox.host import Sandbox, Worker

SOURCE = """
class Sum:
    family, answer_type, answer_format, max_level = "compute", "int", "one integer", 5
    def generate(self, rng, level): return {"a": rng.randrange(10 ** (level + 1)), "b": rng.randrange(10 ** (level + 1))}, {}
    def render(self, public): return f"Add {public['a']} and {public['b']}."
    def reference(self, public, private): return str(public["a"] + public["b"])
    def verify(self, public, answer, reference): return 1.0 if answer == reference else 0.0
"""
PLAIN = SOURCE + (
    "\nimport random\ne = Sum()\npublic, private = e.generate(random.Random(1), 2)\n"
    "assert e.verify(public, e.reference(public, private), e.reference(public, private)) == 1.0\n"
)
BATCH = 64
TARGETS = {
    "cold check, ms": 5.0,
    "warm verify, one a message, calls/s": 11_000,
    "warm verify, 64 a message, calls/s": 250_000,
    "memory of a live worker, MiB": 3.0,
}


def run_plain(source: str) -> None:
    """What a spawned or forkserver process does: the same work in the open."""
    exec(compile(source, "<plain>", "exec"), {})


def cold_check(sandbox: Sandbox) -> None:
    """One whole life of a worker."""
    worker = sandbox.open(SOURCE)
    assert isinstance(worker, Worker), worker
    made = worker.generate(1, 2)
    assert not isinstance(made, Failure), made
    reference = worker.reference(*made)
    assert isinstance(reference, str)
    assert worker.verify(made[0], reference, reference) == 1.0
    worker.close()


def subprocess_check() -> None:
    """`python -c` a call."""
    subprocess.run([sys.executable, "-c", PLAIN], check=True)


def process_check(context: SpawnContext | ForkServerContext) -> Callable[[], None]:
    """A multiprocessing process a call."""

    def check() -> None:
        process = context.Process(target=run_plain, args=(PLAIN,))
        process.start()
        process.join()
        assert process.exitcode == 0

    return check


def seconds(act: Callable[[], object], times: int) -> float:
    """Wall-clock seconds of one call, over `times` in a row."""
    started = time.perf_counter()
    for _ in range(times):
        act()
    return (time.perf_counter() - started) / times


def cpu_s(sandbox: Sandbox) -> float:
    """CPU seconds so far of this process, its ended children, the zygote, and the zygote's ended workers."""
    launched = sandbox.zygote()._child.pid
    inner = Path(f"/proc/{launched}/task/{launched}/children").read_text().split()
    while sandbox.live_workers:
        time.sleep(0.001)
    total = time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    for pid in [str(launched), *inner[:1]]:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        total += sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")  # its own and its children's
    return total


def loop_rate(workers: list[Worker], batch: int, total: int) -> float:
    """Answers graded per second by an event loop that keeps every worker busy."""
    case = [('{"a":561,"b":77}', "638", ["638"] * batch)]
    selector = selectors.DefaultSelector()
    started, asked, done = time.perf_counter(), 0, 0
    for worker in workers:
        worker.begin_verify(case)
        asked += batch
        selector.register(worker, selectors.EVENT_READ)
    while done < asked:
        for key, _ in selector.select(1.0):
            ready = key.fileobj
            assert isinstance(ready, Worker)
            reply = ready.advance()
            if reply is not None:
                assert reply[0] == 1.0
                done += batch
                if asked < total:
                    ready.begin_verify(case)
                    asked += batch
    selector.close()
    return done / (time.perf_counter() - started)


def echo_seconds(times: int) -> float:
    """One message there and back between two processes that do nothing else: what no worker on this machine can beat."""
    near, far = socket.socketpair()
    if not os.fork():
        near.close()
        while message := far.recv(1 << 16):
            far.send(message)
        os._exit(0)
    far.close()

    def echo() -> None:
        near.send(b" " * 80)
        near.recv(1 << 16)

    found = seconds(echo, times)
    near.close()
    os.wait()
    return found


def memory_mib(sandbox: Sandbox, count: int) -> float:
    """Memory that `count` more live workers take from the machine, each: what no other process shares, and page tables."""
    workers = [sandbox.open(SOURCE) for _ in range(count)]
    kib = 0
    for worker in workers:
        assert isinstance(worker, Worker)
        messages.encode_value(worker.generate(1, 2))
        kib += _kib(f"/proc/{worker.process.pid}/smaps_rollup", "Private_Clean:", "Private_Dirty:")
        kib += _kib(f"/proc/{worker.process.pid}/status", "VmPTE:")
    for worker in workers:
        assert isinstance(worker, Worker)
        worker.close()
    return kib / 1024 / count


def _kib(path: str, *names: str) -> int:
    return sum(int(line.split()[1]) for line in Path(path).read_text().splitlines() if line.startswith(names))


def measure(rounds: int, quick: bool) -> dict[str, list[float]]:
    """Every figure, once a round."""
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    scale = 1 if quick else 4
    for _ in range(rounds):
        started = time.perf_counter()
        with Sandbox(SandboxConfig()) as sandbox:
            sandbox.zygote()
            note("zygote start, ms", 1e3 * (time.perf_counter() - started))
            cpu = cpu_s(sandbox)
            for _ in range(10 * scale):
                note("cold check, ms", 1e3 * seconds(partial(cold_check, sandbox), 1))
            note("cold check, CPU ms", 1e3 * (cpu_s(sandbox) - cpu) / (10 * scale))
            cpu = cpu_s(sandbox)
            note("python -c a call, ms", 1e3 * seconds(subprocess_check, 5))
            note("python -c a call, CPU ms", 1e3 * (cpu_s(sandbox) - cpu) / 5)
            note("multiprocessing spawn, ms", 1e3 * seconds(process_check(multiprocessing.get_context("spawn")), 2))
            note("multiprocessing forkserver, ms", 1e3 * seconds(process_check(multiprocessing.get_context("forkserver")), 5))
            workers = [worker for _ in range(4) if isinstance(worker := sandbox.open(SOURCE), Worker)]
            ask = partial(workers[0].verify, {"a": 561, "b": 77}, "638", "638")
            single = seconds(ask, 1000 * scale)
            note("warm verify, one a message, calls/s", 1 / single)
            note("a bare echo between two processes, calls/s", 1 / echo_seconds(1000 * scale))
            note("event loop of two workers, one a message, calls/s", loop_rate(workers[:2], 1, 2000 * scale))
            note("event loop of four workers, one a message, calls/s", loop_rate(workers, 1, 2000 * scale))
            note("warm verify, 64 a message, calls/s", loop_rate(workers[:1], BATCH, 20_000 * scale))
            note("event loop of two workers, 64 a message, calls/s", loop_rate(workers[:2], BATCH, 20_000 * scale))
            note("memory of a live worker, MiB", memory_mib(sandbox, 40 * scale))
    return found


def main() -> None:
    """Measures, prints, writes."""
    quick = "--quick" in sys.argv
    rounds = 2 if quick else 5
    found = measure(rounds, quick)
    load = os.getloadavg()[0]
    rows = []
    print(f"{'measure':<55} {'median':>12} {'best':>12} {'target':>10}")
    for name, values in found.items():
        best = max(values) if name.endswith("/s") else min(values)
        spread = {"median": statistics.median(values), "min": min(values), "max": max(values), "repeats": len(values)}
        rows.append({"measure": name, "spread": spread, "target": TARGETS.get(name)})
        target = f"{TARGETS[name]:,g}" if name in TARGETS else ""
        print(f"{name:<55} {spread['median']:>12,.1f} {best:>12,.1f} {target:>10}")
    ratio, cpu_ratio = (
        statistics.median(found[f"python -c a call, {unit}"]) / statistics.median(found[f"cold check, {unit}"])
        for unit in ("ms", "CPU ms")
    )
    print(
        f"a cold check is {ratio:.1f} times as fast as `python -c` (target 5), "
        f"and takes {cpu_ratio:.1f} times less CPU; load average {load:.1f} on {os.cpu_count()} cores"
    )
    settings = {
        "rounds": rounds,
        "cold_check_speedup": round(ratio, 2),
        "cold_check_cpu_ratio": round(cpu_ratio, 2),
        "load_average": load,
        "kernel": os.uname().release,
        "real_time_priority": os.sched_getscheduler(0) != os.SCHED_OTHER,
    }
    print(write_record("sandbox", settings, rows, {}))


if __name__ == "__main__":
    main()
