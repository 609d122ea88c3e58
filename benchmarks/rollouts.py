"""Tokens per second and memory of sampling, beside transformers' generate, llama.cpp's Q4, and the same matmuls alone.

    python -m benchmarks.rollouts --torch_python=/path/to/python3.11-with-torch [--llama_python=/path/with-llama-cpp-python]
Every engine takes its turn at each repeat, so that a busy machine slows all; peers run in processes of their own, and one
engine works at a time. Completions all have exactly --new_tokens, end of sequence is off; times hold prefill and host
work, not compiling. Without peers only our side runs. Left out: learning, lengths that differ (the engine refills lanes;
`idle_fraction` of a run says how well). Timings of a busy machine say little: look at `cpu_share` and tokens a CPU second.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from flax import nnx
from rich.console import Console
from rich.table import Table

from benchmarks.record import Timing, cores, measure, peak_memory_mib, write_record
from evo_jax.config import PolicyConfig
from evo_jax.host_memory import keep_freed_memory
from evo_jax.policy.huggingface_writing import save_huggingface
from evo_jax.policy.loading import Policy, load_policy
from evo_jax.rollouts.embedded import EmbeddedEngine, EngineSettings
from evo_jax.rollouts.forward import Weights, prepare_weights
from evo_jax.rollouts.protocol import RolloutRequest, SamplingParams

POLICY = flags.DEFINE_string("policy", PolicyConfig().path, "Policy to sample from; llama.cpp needs a .gguf file.")
COMPUTE_DTYPE = flags.DEFINE_string("compute_dtype", "auto", "Arithmetic of our side.")
BATCHES = flags.DEFINE_list("batches", ["1", "8", "32", "128"], "Completions side by side; also our slots.")
GROUP_SIZE = flags.DEFINE_integer("group_size", 8, "Completions of a prompt (at most the batch).")
PROMPT_TOKENS = flags.DEFINE_integer("prompt_tokens", 50, "Mean tokens of a prompt (10 % spread).")
NEW_TOKENS = flags.DEFINE_integer("new_tokens", 48, "Tokens of every completion.")
REPEATS = flags.DEFINE_integer("repeats", 5, "Measured runs of each engine and batch, after one that is not.")
DISPATCH_STEPS = flags.DEFINE_integer("decode_steps_per_dispatch", 8, "rollout.decode_steps_per_dispatch.")
TORCH_PYTHON = flags.DEFINE_string("torch_python", "", "Python with torch and transformers; empty: without them.")
TORCH_DTYPES = flags.DEFINE_list("torch_dtypes", ["float32", "bfloat16"], "Arithmetic of torch's side.")
LLAMA_PYTHON = flags.DEFINE_string("llama_python", "", "Python with llama-cpp-python; empty: without it.")
OUTPUT = flags.DEFINE_string("output", "", "Where the record goes; default results/rollouts.json.")

ROOFLINE_STEPS = 8
# One run of a peer over `prompts`: {"wall_s", "cpu_s", "tokens", "peak_mib"}.
Run = Callable[..., Mapping[str, float]]


class Peer:
    """A peer's process: one line of JSON in, one out."""

    def __init__(self, python: str, script: str, model: str) -> None:
        path = Path(__file__).parent / "peers" / script
        self._process = subprocess.Popen(
            [python, str(path), model, str(cores())], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.versions = self._read()

    def call(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read() | {"peak_mib": peak_memory_mib(self._process.pid)}

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()}; see its output above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def make_prompts(batch: int, vocab_size: int) -> list[tuple[int, ...]]:
    """`batch` prompts of random tokens, equal within a group."""
    rng = np.random.default_rng(batch)
    group = min(GROUP_SIZE.value, batch)
    low, high = round(0.9 * PROMPT_TOKENS.value), round(1.1 * PROMPT_TOKENS.value)
    groups = [tuple(rng.integers(3, vocab_size, n).tolist()) for n in rng.integers(low, high + 1, batch // group)]
    return [prompt for prompt in groups for _ in range(group)]


def our_engine(policy: Policy, batch: int) -> EmbeddedEngine:
    """The embedded engine with `batch` slots and no end of sequence."""
    tokenizer = copy.copy(policy.tokenizer)
    tokenizer.eos_token_ids = ()
    settings = EngineSettings(
        slots=batch, lanes=min(GROUP_SIZE.value, batch), dispatch_steps=DISPATCH_STEPS.value, max_prompt_tokens=1024
    )
    config = dataclasses.replace(policy.model_config, eos_token_ids=())
    engine = EmbeddedEngine(config, tokenizer, settings, dtype=policy.decoder.compute_dtype)
    engine.load_weights(nnx.state(policy.decoder), 0)
    return engine


def our_run(engine: EmbeddedEngine, prompts: list[tuple[int, ...]]) -> Timing:
    """One `generate` over the batch, group by group."""
    group = min(GROUP_SIZE.value, len(prompts))
    sampling = SamplingParams(NEW_TOKENS.value)
    requests = [RolloutRequest(str(place), prompts[place], group, place, sampling) for place in range(0, len(prompts), group)]

    def run() -> None:
        completions = engine.generate(requests)
        assert all(len(completion.tokens) == NEW_TOKENS.value for members in completions for completion in members)

    return measure(run)


def rooflines(weights: Weights, batch: int) -> Callable[[], Timing]:
    """A call that times the weight products of one decode step alone, as our engine orders them, chained."""

    def steps(weights: Weights, x: jax.Array) -> jax.Array:
        width = x.shape[0]

        # Every row of every product is used: the compiler leaves out what nothing reads.
        def step(_: int, x: jax.Array) -> jax.Array:
            for layer in weights.layers:
                query, rest = jnp.split(layer.qkv.reshape(-1, layer.qkv.shape[-1]) @ x, [layer.output.shape[1]])
                gate, up = jnp.split(layer.gate_up.reshape(-1, layer.gate_up.shape[-1]) @ x, 2)
                x = (layer.output @ (query + rest.sum(0)) + layer.down @ (gate + up)) * 1e-3
            head = weights.embedding if weights.head is None else weights.head
            logits = head @ x
            return x + (logits[:width] + logits[width:].max(0)) * 1e-3

        return jax.lax.fori_loop(0, ROOFLINE_STEPS, step, x)

    x = jnp.ones((weights.embedding.shape[1], batch), weights.embedding.dtype)
    compiled = jax.jit(steps).lower(weights, x).compile()
    return lambda: measure(lambda: jax.block_until_ready(compiled(weights, x)))


def flops_per_token(policy: Policy) -> float:
    """Floating-point operations of the weight products for one decoded token, LM head included."""
    config = policy.model_config
    table = config.vocab_size * config.width
    return 2.0 * (config.parameter_count - (0 if config.tied_embeddings else table))


def row_of(engine: str, batch: int, timing: Timing, peak_mib: float, roofline: Timing) -> dict[str, Any]:
    """A row of the record. The shares compare CPU time with CPU time and wall time with wall time."""
    tokens = batch * NEW_TOKENS.value
    step_wall, step_cpu = roofline.median_s / ROOFLINE_STEPS, sum(roofline.cpu_s) / len(roofline.cpu_s) / ROOFLINE_STEPS
    cpu_s = sum(timing.cpu_s) / len(timing.cpu_s)
    return {
        "engine": engine,
        "batch": batch,
        "tokens_per_s": round(tokens / timing.median_s, 1),
        "tokens_per_s_range": [round(tokens / max(timing.wall_s), 1), round(tokens / min(timing.wall_s), 1)],
        "tokens_per_cpu_s": round(tokens / cpu_s, 1),
        "roofline_share": round(NEW_TOKENS.value * step_wall / timing.median_s, 3),
        "roofline_share_cpu": round(NEW_TOKENS.value * step_cpu / cpu_s, 3),
        "peak_mib": round(peak_mib),
        **timing.fields,
    }


def measure_batch(policy: Policy, weights: Weights, peers: Mapping[str, Run], batch: int) -> list[dict[str, Any]]:
    """Rows of all engines at one batch size; engines take turns."""
    prompts = make_prompts(batch, policy.model_config.vocab_size)
    engine, roofline = our_engine(policy, batch), rooflines(weights, batch)
    name = f"evo_jax {jnp.dtype(policy.decoder.compute_dtype).name}"
    timings: dict[str, Timing] = dict.fromkeys([name, "matmuls", *peers], Timing((), ()))
    peaks: dict[str, float] = {}
    for repeat in range(REPEATS.value + 1):
        turns = {"matmuls": roofline(), name: our_run(engine, prompts)}
        peaks[name] = peak_memory_mib()
        for peer, run in peers.items():
            answer = run(prompts=prompts)
            turns[peer] = Timing((answer["wall_s"],), (answer["cpu_s"],))
            peaks[peer] = answer["peak_mib"]
        if repeat:
            timings = {turn: timings[turn] + timing for turn, timing in turns.items()}
    engine.close()
    matmuls = timings.pop("matmuls")
    rows = [row_of(turn, batch, timing, peaks[turn], matmuls) for turn, timing in timings.items()]
    rate = flops_per_token(policy) * batch * ROOFLINE_STEPS / 1e9
    rows[0]["matmul_gflops_per_s"] = round(rate / matmuls.median_s, 1)
    rows[0]["matmul_gflop_per_cpu_s"] = round(rate / (sum(matmuls.cpu_s) / len(matmuls.cpu_s)), 1)
    rows[0]["matmul_cpu_share"] = matmuls.fields["cpu_share"]
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """One table."""
    table = Table(title="Rollouts: tokens per second (median of repeats, prefill included)")
    for heading in ("batch", "engine", "tok/s", "range", "tok/CPU s", "of matmuls", "(CPU)", "CPU share", "peak MiB"):
        table.add_column(heading, justify="left" if heading == "engine" else "right")
    for row in rows:
        low, high = row["tokens_per_s_range"]
        shares = (f"{row[key]:.0%}" for key in ("roofline_share", "roofline_share_cpu", "cpu_share"))
        values = (row["batch"], row["engine"], row["tokens_per_s"], f"{low}..{high}", row["tokens_per_cpu_s"])
        table.add_row(*map(str, values), *shares, str(row["peak_mib"]))
    Console().print(table)


def main(argv: list[str]) -> None:
    """Measure and report."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    keep_freed_memory()
    policy = load_policy(POLICY.value, compute_dtype=COMPUTE_DTYPE.value)
    prepare = jax.jit(lambda params: prepare_weights(params, policy.model_config, policy.decoder.compute_dtype))
    weights = prepare(nnx.state(policy.decoder))
    started: list[Peer] = []
    peers: dict[str, Run] = {}
    with tempfile.TemporaryDirectory() as directory:
        if TORCH_PYTHON.value:
            save_huggingface(directory, policy.model_config, nnx.state(policy.decoder), policy.tokenizer)
            torch = Peer(TORCH_PYTHON.value, "torch_rollouts.py", directory)
            started.append(torch)
            for dtype in TORCH_DTYPES.value:
                peers[f"transformers {dtype}"] = functools.partial(torch.call, dtype=dtype, new_tokens=NEW_TOKENS.value)
        if LLAMA_PYTHON.value:
            llama = Peer(LLAMA_PYTHON.value, "llama_cpp_rollouts.py", POLICY.value)
            started.append(llama)
            peers["llama.cpp Q4"] = functools.partial(llama.call, new_tokens=NEW_TOKENS.value)
        rows = [row for batch in BATCHES.value for row in measure_batch(policy, weights, peers, int(batch))]
        for peer in started:
            peer.close()
    show(rows)
    names = ("policy", "batches", "group_size", "prompt_tokens", "new_tokens", "repeats", "decode_steps_per_dispatch")
    settings = {name: flags.FLAGS[name].value for name in names}
    versions = {name: version for peer in started for name, version in peer.versions.items()}
    print(write_record("rollouts", settings, rows, versions, OUTPUT.value))


if __name__ == "__main__":
    app.run(main)
