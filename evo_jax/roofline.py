"""What the compiled programs of a slice come to: bytes in each phase of a step against the chip's memory, and rooflines.

A roofline is arithmetic and no measurement: products at the chip's peak, sends over all of its links at once, kernels at the
most that they can cost. Left out: what XLA keeps back of a chip's memory, and traffic between chips and hosts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jax.sharding import Mesh

from evo_jax.chips import Chip
from evo_jax.config import Config
from evo_jax.memory import parameter_count
from evo_jax.packing import micro_batch_rows
from evo_jax.policy.model_config import ModelConfig
from evo_jax.rollouts.kv_cache import PoolShape
from evo_jax.sharding import shards

UPDATE_PROGRAMS = ("micro-step", "optimizer step")
ENGINE_PROGRAMS = ("prefill", "decode")
PROGRAMS = (*UPDATE_PROGRAMS, *ENGINE_PROGRAMS)
_GIB = 2**30
# Of the splash kernels, in products of queries with keys over one half of the square: forward 2, dK and dV 4, dQ 3.
_FORWARD, _BACKWARD = 2, 7


@dataclass(frozen=True)
class Program:
    """One compiled program, in numbers of one device that go through JSON.

    Bytes: `kept` ones of its results reuse no argument; `on_host` are arguments in the memory of the hosts. `sent` has runs and
    bytes of each kind of collective, `gathers` bytes and source of each all-gather of a MiB or more outside all loops, and
    `largest_inner_gather` is the largest result of one inside. Copies inside loops read and write `copied` bytes. Of a loop
    that only the data ends, one turn counts.
    """

    name: str
    arguments: int
    results: int
    kept: int
    temporaries: int
    on_host: int
    product_flops: float
    sent: dict[str, list[float]]
    kernels: dict[str, int]
    gathers: list[list[Any]]
    largest_inner_gather: float
    open_loops: int
    copied: float
    compile_s: float

    @property
    def sent_bytes(self) -> float:
        """Over all collectives."""
        return sum(sent for _, sent in self.sent.values())

    @property
    def peak(self) -> int:
        """What a device holds while it runs."""
        return self.arguments + self.kept + self.temporaries


@dataclass
class SliceReport:
    """What was found out for one slice, as it comes."""

    topology: str
    chip: Chip
    mesh: Mesh
    model: ModelConfig
    config: Config
    # On each device: a TrainState, its trained parameters alone, what stands beside it all the time (with LoRA the base, with a
    # KL term the reference policy), and the embedded engine's weights.
    state_bytes: float = 0.0
    trained_bytes: float = 0.0
    beside_bytes: float = 0.0
    engine_bytes: float = 0.0
    pool: PoolShape | None = None
    programs: dict[str, Program] = field(default_factory=dict)


def program_lines(report: SliceReport, program: Program) -> list[str]:
    """What one program holds, multiplies and sends, on one device."""
    parts = {"arguments": program.arguments, "new results": program.kept, "temporaries": program.temporaries}
    if program.on_host:
        parts["in the hosts' memory"] = program.on_host
    lines = [
        f"{program.name}: {_work(report, program.name)}; compiled in {program.compile_s:.0f} s",
        f"  bytes a device: {', '.join(f'{label} {_gib(size)}' for label, size in parts.items())}",
        f"  products: {program.product_flops / 1e12:,.2f} TFLOP a device",
    ]
    kernels = {name.partition(": ")[2]: runs for name, runs in program.kernels.items() if name.startswith("tpu_custom_call")}
    if kernels:
        most = kernel_flops(report) / 1e12
        names = ", ".join(f"{name} {runs}" for name, runs in sorted(kernels.items()))
        lines.append(f"  kernels (runs): {names}; at most {most:,.2f} TFLOP a device")
    kinds = ", ".join(f"{kind} {runs:.0f} runs, {sent / 1e9:,.3f} GB" for kind, (runs, sent) in program.sent.items())
    lines.append(f"  a device sends: {kinds or 'nothing'}")
    if program.open_loops:
        lines.append("  a loop that the data ends is counted once: one step of decoding")
    if program.copied:
        lines.append(f"  copies inside loops read and write {_gib(program.copied)}")
    if program.largest_inner_gather:
        lines.append(f"  the largest gather inside a loop: {_gib(program.largest_inner_gather)}")
    return lines + [f"  gathered outside all loops: {_gib(size)}, {source}" for size, source in program.gathers]


def _work(report: SliceReport, name: str) -> str:
    """What one run of a program works on, on all devices together."""
    pool = report.pool
    if name == "micro-step":
        return f"{_rows(report)} rows of {report.config.learner.row_tokens:,} tokens"
    if name == "prefill" and pool is not None:
        return f"{pool.prefill_rows} prompts of {pool.prompt_tokens:,} tokens"
    if name == "decode" and pool is not None:
        return f"a token of each of {pool.slots} completions of up to {pool.completion_tokens:,}"
    return "all parameters"


def memory_lines(report: SliceReport) -> list[str]:
    """The largest sum of bytes in each phase of a step, against the chip's memory."""
    lines = [f"memory of a device, of {_gib(report.chip.memory_bytes)} (parameters, moments and engine weights stay in it):"]
    for phase, size in phase_bytes(report).items():
        verdict = "fits" if size <= report.chip.memory_bytes else "DOES NOT FIT"
        lines.append(f"  {phase:16s}{_gib(size):>12s}  {size / report.chip.memory_bytes:4.0%}  {verdict}")
    return lines


def phase_bytes(report: SliceReport) -> dict[str, float]:
    """What a device holds at most while each program runs, with everything that waits beside it."""
    programs, state, beside = report.programs, report.state_bytes, report.beside_bytes
    engine = report.engine_bytes
    # A micro-step's own arguments hold the trained parameters and, with LoRA, the base; the optimizer step's the whole state.
    own = report.trained_bytes + (beside if report.config.lora.rank else 0.0)
    waits = {"micro-step": state + beside - own + engine, "optimizer step": beside + engine, "decode": state + beside}
    caches = programs["decode"].arguments - engine if "decode" in programs else 0.0
    waits["prefill"] = state + beside + caches
    phases = {name: waits[name] + program.peak for name, program in programs.items()}
    if report.config.rollout.max_staleness_steps:  # completions are sampled beside the update
        sampling = max((phases[name] - state - beside - engine for name in ENGINE_PROGRAMS if name in phases), default=0.0)
        phases |= {name: phases[name] + sampling for name in UPDATE_PROGRAMS if name in phases}
    return phases


def time_lines(report: SliceReport) -> list[str]:
    """Rooflines: with everything at once, and one thing after the other."""
    chip, programs = report.chip, report.programs
    lines = ["rooflines (products at the chip's peak, sends over all links; first all at once, then one after the other):"]
    if "micro-step" in programs:
        tokens, step = _rows(report) * report.config.learner.row_tokens, programs["micro-step"]
        compute = (step.product_flops + kernel_flops(report)) / chip.flops
        for seconds in _both(compute, step.sent_bytes / chip.send_bytes_s):
            used = model_flops(report) * tokens / (report.mesh.size * chip.flops * seconds)
            lines.append(f"  micro-step {_ms(seconds)}: {tokens / seconds:,.0f} tokens/s, {used:.0%} MFU")
    if "optimizer step" in programs:
        moved = programs["optimizer step"].arguments + programs["optimizer step"].results
        lines.append(f"  optimizer step {_ms(moved / chip.memory_bytes_s)}, by the bytes it reads and writes")
    if "prefill" in programs and report.pool is not None:
        prefill, counted = programs["prefill"], report.pool.prefill_rows * report.pool.prompt_tokens
        both = _both(prefill.product_flops / chip.flops, prefill.sent_bytes / chip.send_bytes_s)
        lines += [f"  prefill {_ms(seconds)}: {counted / seconds:,.0f} tokens/s" for seconds in both]
    if "decode" in programs and report.pool is not None:
        decode, slots = programs["decode"], report.pool.slots
        # Every token reads all weights and, in the cache, what could be there; copies come on top.
        reading = max((decode.arguments + decode.copied) / chip.memory_bytes_s, decode.product_flops / chip.flops)
        both = _both(reading, decode.sent_bytes / chip.send_bytes_s)
        lines += [f"  decode {_ms(seconds)} a token: {slots / seconds:,.0f} tokens/s" for seconds in both]
    return lines


def _rows(report: SliceReport) -> int:
    """Rows of a micro-batch on all devices, those that only fill the mesh up included."""
    rows, over = micro_batch_rows(report.config.learner, report.config.learner.row_tokens), shards(report.mesh, "rows")
    return -(-rows // over) * over


def kernel_flops(report: SliceReport) -> float:
    """Of a micro-step's splash kernels on the busiest device, at most: rows that one completion fills.

    A token sees half of its row on average, and the last of `context` parts of a row sees more than the others.
    """
    model, learner = report.model, report.config.learner
    if report.config.policy.attention == "xla":
        return 0.0
    passes = _FORWARD + _BACKWARD + (_FORWARD if report.config.policy.remat != "none" else 0)
    one = model.num_heads * model.head_size * learner.row_tokens**2  # of one product, two operations each, half of the square
    parts = report.mesh.shape["context"]
    share = (2 * parts - 1) / parts**2 / (report.mesh.shape["tensor"] * shards(report.mesh, "rows"))
    return passes * one * model.num_layers * _rows(report) * share


def model_flops(report: SliceReport) -> float:
    """Operations a token that training needs, without recomputation: 6 a parameter, and attention to half of a row."""
    model = report.model
    multiplied = parameter_count(model) - (0 if model.tied_embeddings else model.vocab_size * model.width)
    return 6.0 * multiplied + 6.0 * model.num_layers * model.num_heads * model.head_size * report.config.learner.row_tokens


def _both(first: float, second: float) -> tuple[float, float]:
    return max(first, second), first + second


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms"


def _gib(size: float) -> str:
    return f"{size / _GIB:,.2f} GiB"
