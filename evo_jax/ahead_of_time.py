"""A run's programs compiled for a TPU slice that is not there, by the real TPU compiler.

libtpu runs on any machine and needs shapes alone, so that a config and a model's config.json say whether a run fits a slice
before anybody rents it. What the numbers come to is worked out in `roofline`. Left out: programs of other lengths, the copy of
weights to the engine.
"""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.experimental import topologies

from evo_jax.chips import chip_of
from evo_jax.compiled_costs import CompiledCosts, parameter_gathers, read_costs
from evo_jax.config import Config, ConfigError
from evo_jax.engines import engine_settings
from evo_jax.learner import Learner
from evo_jax.policy.decoder import abstract_decoder
from evo_jax.policy.loading import read_model_config, resolve_dtype
from evo_jax.rollouts.embedded import pool_shape
from evo_jax.rollouts.engine_mesh import EngineMesh
from evo_jax.rollouts.programs import lower_programs, prepared_shapes
from evo_jax.roofline import (
    ENGINE_PROGRAMS,
    PROGRAMS,
    UPDATE_PROGRAMS,
    Program,
    SliceReport,
    memory_lines,
    program_lines,
    time_lines,
)
from evo_jax.sharding import describe_mesh, mesh_of, parameter_shardings, place

_SMALL_GATHER_BYTES = 2**20


def describe_topology(
    config: Config,
    topology: str,
    say: Callable[[str], None] = print,
    *,
    wanted: Sequence[str] = PROGRAMS,
    known: Mapping[str, Program] | None = None,
    keep: Callable[[Program], None] = lambda program: None,
) -> SliceReport:
    """Compiles the `wanted` programs of `config` for `topology` and says what each comes to.

    Those that are `known` are taken as they are; `keep` is told of each other one as soon as it is compiled.

    Raises ConfigError for another backend than our own, an unknown slice, a mesh or model that does not fit it, an environment
    without the compiler, and a program that the compiler refuses, for want of memory say.
    """
    if config.policy.backend != "native":
        raise ConfigError(f"--topology compiles policy.backend='native' alone, not {config.policy.backend!r}")
    chip, devices = chip_of(topology), slice_devices(topology)
    mesh = mesh_of(config.mesh, devices)
    if mesh.size < len(devices):
        raise ConfigError(
            f"mesh={config.mesh.sizes} uses {mesh.size} of the {len(devices)} chips of {topology}: set an axis to -1"
        )
    model = read_model_config(config.policy.path)
    report = SliceReport(topology, chip, mesh, model, config)
    say(f"{topology}: {describe_mesh(mesh)}; compiled by libtpu {metadata.version('libtpu')}, ahead of time")
    for name, lower in _lowerings(report).items():
        if known is not None and name in known:
            report.programs[name] = known[name]
        elif name in wanted:
            report.programs[name] = _compile(name, lower(), topology)
            keep(report.programs[name])
        else:
            continue
        say("\n".join(program_lines(report, report.programs[name])))
    say("\n".join([*memory_lines(report), *time_lines(report)]))
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


def _lowerings(report: SliceReport) -> dict[str, Callable[[], jax.stages.Lowered]]:
    """What traces each program, by name; notes what stays on a device all the time."""
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
    update = functools.cache(lambda: learner.lower(params, config.learner.row_tokens))
    found: dict[str, Callable[[], jax.stages.Lowered]]
    found = {name: functools.partial(lambda name: update()[name], name) for name in UPDATE_PROGRAMS}
    if config.rollout.engine == "embedded":
        rollout, devices = config.rollout, EngineMesh(mesh)
        devices.require_fits(model)
        truncated = rollout.top_k > 0 or rollout.top_p < 1.0
        lengths = rollout.max_prompt_tokens, rollout.max_completion_tokens
        report.pool = pool_shape(engine_settings(config), *lengths, rollout.group_size, truncated, devices.lane_shards)
        report.engine_bytes = _held(devices.weights(prepared_shapes(model, dtype, devices)))
        engine = functools.cache(functools.partial(lower_programs, report.pool, model, dtype, model.eos_token_ids, devices))
        found |= {name: functools.partial(lambda name: getattr(engine(), name), name) for name in ENGINE_PROGRAMS}
    return found


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
    return _program(name, memory, read_costs(text), time.perf_counter() - began)


def _program(name: str, memory: Any, costs: CompiledCosts, compile_s: float) -> Program:
    inside = (one.result_bytes for one in costs.collectives if one.kind == "all-gather" and one.in_loop)
    return Program(
        name=name,
        arguments=memory.argument_size_in_bytes,
        results=memory.output_size_in_bytes,
        kept=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes + memory.generated_code_size_in_bytes,
        on_host=memory.host_argument_size_in_bytes,
        product_flops=costs.product_flops,
        sent={kind: [runs, sent] for kind, (runs, sent) in costs.by_kind().items()},
        kernels=dict(costs.kernels),
        gathers=[[one.result_bytes, one.source] for one in parameter_gathers(costs, _SMALL_GATHER_BYTES)],
        largest_inner_gather=max(inside, default=0.0),
        open_loops=costs.open_loops,
        copied=costs.copied_bytes,
        compile_s=compile_s,
    )


def _held(tree: Any) -> float:
    """Bytes of a tree of placed shapes that one device holds itself."""
    leaves = [x for x in jax.tree.leaves(tree) if x.sharding.memory_kind != "pinned_host"]
    return float(sum(math.prod(x.sharding.shard_shape(x.shape)) * jnp.dtype(x.dtype).itemsize for x in leaves))
