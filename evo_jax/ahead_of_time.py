"""A run's programs compiled for a TPU slice that is not there: what they hold, multiply and send, and how fast they can be.

The real TPU compiler (libtpu) runs on any machine and needs shapes alone, so that a config and a model's config.json say
whether a run fits a slice before anybody rents it. Times are rooflines: products at the chip's peak, sends over all of its
links at once, an arithmetic and no measurement. Left out: programs of other lengths, the copy of weights to the engine, and
what XLA keeps back of a chip's memory.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.experimental import topologies
from jax.sharding import Mesh

from evo_jax.chips import Chip, chip_of
from evo_jax.compiled_costs import CompiledCosts, parameter_gathers, read_costs
from evo_jax.config import Config, ConfigError
from evo_jax.engines import engine_settings
from evo_jax.learner import Learner
from evo_jax.memory import parameter_count
from evo_jax.packing import micro_batch_rows
from evo_jax.policy.decoder import abstract_decoder
from evo_jax.policy.loading import read_model_config, resolve_dtype
from evo_jax.policy.model_config import ModelConfig
from evo_jax.rollouts.embedded import pool_shape
from evo_jax.rollouts.engine_mesh import EngineMesh
from evo_jax.rollouts.kv_cache import PoolShape
from evo_jax.rollouts.programs import lower_programs, prepared_shapes
from evo_jax.sharding import describe_mesh, mesh_of, parameter_shardings, place, shards

_GIB = 2**30
# Of the splash kernels, in products of queries with keys over one half of the square: forward 2, dK and dV 4, dQ 3.
_FORWARD, _BACKWARD = 2, 7
_SMALL_GATHER_BYTES = 2**20


@dataclass(frozen=True)
class Program:
    """One compiled program: bytes a device holds for it, and its costs. `kept` bytes of its results reuse no argument."""

    name: str
    arguments: int
    results: int
    kept: int
    temporaries: int
    costs: CompiledCosts
    compile_s: float

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


def describe_topology(config: Config, topology: str, say: Callable[[str], None] = print) -> SliceReport:
    """Compiles the programs of `config` for `topology` and says what each comes to.

    Raises ConfigError for an unknown slice, a mesh or model that does not fit it, an environment without the compiler, and a
    program that the compiler refuses, for want of memory say.
    """
    chip, devices = chip_of(topology), slice_devices(topology)
    mesh = mesh_of(config.mesh, devices)
    if mesh.size < len(devices):
        raise ConfigError(
            f"mesh={config.mesh.sizes} uses {mesh.size} of the {len(devices)} chips of {topology}: set an axis to -1"
        )
    model = read_model_config(config.policy.path)
    report = SliceReport(topology, chip, mesh, model, config)
    say(f"{topology}: {describe_mesh(mesh)}; compiled by libtpu {metadata.version('libtpu')}, ahead of time")
    for name, lowered in _lowered(report).items():
        report.programs[name] = _compile(name, lowered, topology)
        say("\n".join(_program_lines(report, report.programs[name])))
    say("\n".join([*_memory_lines(report), *_time_lines(report)]))
    return report


def slice_devices(topology: str) -> list[jax.Device]:
    """The devices of a slice that need not be there. Raises ConfigError where the compiler or the slice is unknown."""
    try:
        metadata.version("libtpu")
    except metadata.PackageNotFoundError:
        raise ConfigError(
            "--topology needs the TPU compiler (libtpu), which this environment does not have: `make tpu-compiler` sets up one "
            "that does, then call .venv-tpu/bin/python -m evo_jax.train"
        ) from None
    # Nobody must look for a TPU on this machine, ask the cloud's metadata for one, or wait for another process that compiles.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    jax.config.update("jax_platforms", "cpu")
    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices)
    except Exception as error:  # libtpu's own classes
        first = str(error).strip().splitlines()[0][:200]
        raise ConfigError(f"--topology={topology!r}: the TPU compiler has no such slice ({first})") from error


def _lowered(report: SliceReport) -> dict[str, jax.stages.Lowered]:
    """The programs by name, and the bytes that stay on a device all the time."""
    config, model, mesh = report.config, report.model, report.mesh
    compute = "bfloat16" if config.policy.compute_dtype == "auto" else config.policy.compute_dtype
    param_dtype, dtype = resolve_dtype(config.policy.param_dtype), resolve_dtype(compute)
    decoder = abstract_decoder(model, param_dtype=param_dtype, compute_dtype=dtype)
    learner = Learner(config, decoder, mesh)
    params = nnx.state(decoder)
    state = learner.abstract_state(params)
    report.state_bytes, report.trained_bytes = _held(state), _held(state.params)
    if config.lora.rank:
        report.beside_bytes += _held(place(params, parameter_shardings(mesh, params)))
    if config.objective.kl_weight:
        report.beside_bytes += report.trained_bytes
    programs = dict(learner.lower(params, config.learner.row_tokens))
    if config.rollout.engine == "embedded":
        rollout, devices = config.rollout, EngineMesh(mesh)
        devices.require_fits(model)
        truncated = rollout.top_k > 0 or rollout.top_p < 1.0
        lengths = rollout.max_prompt_tokens, rollout.max_completion_tokens
        report.pool = pool_shape(engine_settings(config), *lengths, truncated, devices.lane_shards)
        report.engine_bytes = _held(devices.weights(prepared_shapes(model, dtype, devices)))
        engine = lower_programs(report.pool, model, dtype, model.eos_token_ids, devices)
        programs |= {"prefill": engine.prefill, "decode": engine.decode}
    return programs


def _compile(name: str, lowered: jax.stages.Lowered, topology: str) -> Program:
    began = time.perf_counter()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        reason = " ".join(str(error).split())[:600]
        raise ConfigError(f"the TPU compiler refuses the {name} for {topology}: {reason}") from error
    memory, text = compiled.memory_analysis(), compiled.as_text()
    if memory is None or text is None:
        raise ConfigError(f"this libtpu says nothing of the {name}: requirements-tpu.txt names the version that does")
    return Program(
        name,
        memory.argument_size_in_bytes,
        memory.output_size_in_bytes,
        memory.output_size_in_bytes - memory.alias_size_in_bytes,
        memory.temp_size_in_bytes + memory.generated_code_size_in_bytes,
        read_costs(text),
        time.perf_counter() - began,
    )


def _held(tree: Any) -> float:
    """Bytes of the largest part of a tree of placed shapes that one device holds."""
    return float(sum(math.prod(x.sharding.shard_shape(x.shape)) * jnp.dtype(x.dtype).itemsize for x in jax.tree.leaves(tree)))


# ---- for people ------------------------------------------------------------------------------------------------------------


def _program_lines(report: SliceReport, program: Program) -> list[str]:
    costs = program.costs
    parts = (program.arguments, program.kept, program.temporaries)
    named = zip(("arguments", "new results", "temporaries"), parts, strict=True)
    lines = [
        f"{program.name}: {_work(report, program.name)}; compiled in {program.compile_s:.0f} s",
        f"  bytes a device: {', '.join(f'{name} {_gib(size)}' for name, size in named)}; together {_gib(program.peak)}",
        f"  products: {costs.product_flops / 1e12:,.2f} TFLOP a device",
    ]
    kernels = {name.partition(": ")[2]: runs for name, runs in costs.kernels.items() if name.startswith("tpu_custom_call")}
    if kernels:
        most = kernel_flops(report) / 1e12
        names = ", ".join(f"{name} {runs}" for name, runs in sorted(kernels.items()))
        lines.append(f"  kernels (runs): {names}; at most {most:,.2f} TFLOP a device")
    kinds = ", ".join(f"{kind} {runs} runs, {sent / 1e9:,.3f} GB" for kind, (runs, sent) in costs.by_kind().items())
    lines.append(f"  a device sends: {kinds or 'nothing'}")
    if costs.open_loops:
        lines.append("  a loop that the data ends is counted once: one step of decoding")
    gathers = parameter_gathers(costs, _SMALL_GATHER_BYTES)
    return lines + [f"  gathered outside the loop over layers: {_gib(one.result_bytes)}, {one.source}" for one in gathers]


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


def _memory_lines(report: SliceReport) -> list[str]:
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
    known = report.trained_bytes + (beside if report.config.lora.rank else 0.0)
    phases = {
        "micro-step": state + beside - known + engine + programs["micro-step"].peak,
        "optimizer step": beside + engine + programs["optimizer step"].peak,
    }
    if "decode" in programs:
        caches = programs["decode"].arguments - engine
        phases["prefill"] = state + beside + caches + programs["prefill"].peak
        phases["decode"] = state + beside + programs["decode"].peak
        if report.config.rollout.max_staleness_steps:  # completions are sampled beside the update
            sampling = max(caches + programs["prefill"].peak, programs["decode"].peak) - engine
            phases |= {name: phases[name] + sampling for name in ("micro-step", "optimizer step")}
    return phases


def _time_lines(report: SliceReport) -> list[str]:
    lines = ["rooflines (products at the chip's peak, sends over all links; first all at once, then one after the other):"]
    chip, programs = report.chip, report.programs
    tokens = _rows(report) * report.config.learner.row_tokens
    step, apply = programs["micro-step"].costs, programs["optimizer step"]
    compute = (step.product_flops + kernel_flops(report)) / chip.flops
    for seconds in _both(compute, step.sent_bytes / chip.send_bytes_s):
        used = model_flops(report) * tokens / (report.mesh.size * chip.flops * seconds)
        lines.append(f"  micro-step {_ms(seconds)}: {tokens / seconds:,.0f} tokens/s, {used:.0%} MFU")
    moved = apply.arguments + apply.results
    lines.append(f"  optimizer step {_ms(moved / chip.memory_bytes_s)}, by the bytes it reads and writes")
    if report.pool is not None:
        prefill, decode = programs["prefill"].costs, programs["decode"]
        counted = report.pool.prefill_rows * report.pool.prompt_tokens
        both = _both(prefill.product_flops / chip.flops, prefill.sent_bytes / chip.send_bytes_s)
        lines += [f"  prefill {_ms(seconds)}: {counted / seconds:,.0f} tokens/s" for seconds in both]
        # Every token reads all weights and, in the cache, what could be there.
        reading = max(decode.arguments / chip.memory_bytes_s, decode.costs.product_flops / chip.flops)
        both = _both(reading, decode.costs.sent_bytes / chip.send_bytes_s)
        lines += [f"  decode {_ms(seconds)} a token: {report.pool.slots / seconds:,.0f} tokens/s" for seconds in both]
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
