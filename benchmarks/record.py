"""What every benchmark writes: one JSON file under results/ that says where, with what and how steadily it was measured.

Fields of each record: `commit`, `versions`, `device`, `started`, `settings`, and per measured row `spread` (seconds: median,
min, max, repeats) and `cpu_share` (CPU time of the measured process / (wall time * cores allowed): well below what the
program reaches alone means that the machine was busy). Left out: the measuring itself, and comparing records.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Timing:
    """Wall and CPU seconds of repeated runs of one thing."""

    wall_s: tuple[float, ...]
    cpu_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """Median of the wall times."""
        return statistics.median(self.wall_s)

    @property
    def fields(self) -> dict[str, Any]:
        """`spread` and `cpu_share` as they stand in a record."""
        spread = {"median": self.median_s, "min": min(self.wall_s), "max": max(self.wall_s), "repeats": len(self.wall_s)}
        return {
            "spread": {name: round(value, 4) for name, value in spread.items()},
            "cpu_share": round(sum(self.cpu_s) / (sum(self.wall_s) * cores()), 3),
        }

    def __add__(self, other: Timing) -> Timing:
        return Timing(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s)


def measure(call: Callable[[], Any], repeats: int = 1) -> Timing:
    """Times `call`, which must have finished its work when it returns (JAX: block_until_ready)."""
    wall, cpu = [], []
    for _ in range(repeats):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - wall_start)
        cpu.append(time.process_time() - cpu_start)
    return Timing(tuple(wall), tuple(cpu))


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def peak_memory_mib(process: int | str = "self") -> float:
    """Largest resident size of a process so far, from Linux's VmHWM.

    Not getrusage: what that calls the peak of a program is at least the size of whoever started it.
    """
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def write_record(
    name: str, settings: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], versions: Mapping[str, str], path: str = ""
) -> Path:
    """Writes results/<name>.json (or `path`) and returns where it went. `versions` are those of peers, ours are added."""
    target = Path(path) if path else ROOT / "results" / f"{name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    ours = {package: importlib.metadata.version(package) for package in ("jax", "jaxlib", "flax", "optax", "numpy")}
    record = {
        "benchmark": name,
        "commit": commit(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": {"python": platform.python_version(), **ours, **versions},
        "device": device(),
        "settings": dict(settings),
        "rows": [dict(row) for row in rows],
    }
    target.write_text(json.dumps(record, indent=1) + "\n")
    return target


def commit() -> str:
    """The commit that was measured; "+changes" where tracked files of the two packages differ from it."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "evo_jax", "env_synth", "benchmarks")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+changes" if changed else "")


def device() -> str:
    """Processor, cores allowed, vector extensions that decide the arithmetic, and memory."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = fields.get("flags", "").split()
    extensions = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = fields.get("model name", platform.processor() or platform.machine())
    return f"{name}, {cores()} cores, {' '.join(extensions) or 'no vector extensions listed'}, {memory_gib:.0f} GiB"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
