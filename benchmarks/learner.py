"""Tokens per second and memory of the update, beside the usual torch step on the same rollouts, and beside plain matmuls.

    python -m benchmarks.learner --torch_python=/path/to/python3.11-with-torch
The two sides take turns, so that a busy machine slows both; losses and gradient norms of the first update must agree, else
the comparison is refused. Without --torch_python only our side runs. Left out: sampling (benchmarks/rollouts.py), several
devices. Timings of a busy machine say little: look at `cpu_share`.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from flax import nnx
from jaxtyping import Float32, Int64
from rich.console import Console
from rich.table import Table

from benchmarks.record import Timing, cores, measure, peak_memory_mib, write_record
from evo_jax.advantages import compute_advantages
from evo_jax.config import Config, LearnerConfig, PolicyConfig
from evo_jax.host_memory import keep_freed_memory, release_freed_memory
from evo_jax.learner import Learner, TrainState
from evo_jax.packing import pack, packed_fraction
from evo_jax.policy.huggingface_writing import save_huggingface
from evo_jax.policy.loading import Policy, load_policy
from evo_jax.policy.model_config import ModelConfig
from evo_jax.records import AdvantageBatch, Prompt, Role, RolloutBatch, ScoredBatch, TrainBatch

POLICY = flags.DEFINE_string("policy", PolicyConfig().path, "Policy to update.")
COMPUTE_DTYPES = flags.DEFINE_list("compute_dtypes", ["float32"], "Arithmetic of our side, one row each.")
PROMPTS = flags.DEFINE_integer("prompts", 16, "Groups of the batch.")
GROUP_SIZE = flags.DEFINE_integer("group_size", 8, "Completions of a prompt.")
PROMPT_TOKENS = flags.DEFINE_integer("prompt_tokens", 50, "Mean tokens of a prompt (10 % spread).")
COMPLETION_TOKENS = flags.DEFINE_integer("completion_tokens", 48, "Tokens of a completion.")
ROW_TOKENS = flags.DEFINE_integer("row_tokens", 448, "learner.row_tokens.")
ROWS = flags.DEFINE_integer("rows_per_micro_batch", 2, "learner.rows_per_micro_batch.")
LOGITS_CHUNK = flags.DEFINE_integer("logits_chunk_tokens", 256, "policy.logits_chunk_tokens.")
REMAT = flags.DEFINE_string("remat", "none", "policy.remat.")
REPEATS = flags.DEFINE_integer("repeats", 5, "Measured updates of each side, after one that is not.")
TORCH_PYTHON = flags.DEFINE_string("torch_python", "", "Python with torch and transformers; empty: our side alone.")
TORCH_DTYPES = flags.DEFINE_list("torch_dtypes", ["float32", "bfloat16"], "Arithmetic of torch's side (bfloat16: autocast).")
TORCH_ROWS = flags.DEFINE_integer("torch_rows_per_micro_batch", 8, "Completions of one of torch's micro-batches.")
OUTPUT = flags.DEFINE_string("output", "", "Where the record goes; default results/learner.json.")


def make_rollouts(vocab_size: int) -> AdvantageBatch:
    """Random tokens (timing does not depend on them) with rewards that leave no advantage at 0, so that nothing is skipped."""
    rng = np.random.default_rng(0)
    count, length = PROMPTS.value * GROUP_SIZE.value, COMPLETION_TOKENS.value
    low, high = round(0.9 * PROMPT_TOKENS.value), round(1.1 * PROMPT_TOKENS.value)
    prompts = tuple(
        Prompt(Role.SOLVER, "", tuple(int(t) for t in rng.integers(3, vocab_size, n)), "", f"prompt-{i}", 0)
        for i, n in enumerate(rng.integers(low, high + 1, PROMPTS.value))
    )
    rollouts = RolloutBatch(
        prompts=prompts,
        group_size=GROUP_SIZE.value,
        texts=("",) * count,
        tokens=rng.integers(3, vocab_size, (count, length)).astype(np.int32),
        lengths=np.full(count, length, np.int32),
        rollout_logprobs=np.zeros((count, length), np.float32),
        truncated=np.zeros(count, bool),
        policy_versions=np.zeros((count, length), np.int32),
    )
    scored = ScoredBatch(rollouts, rng.random(count).astype(np.float32), np.ones(count, bool), np.zeros(count, bool))
    return compute_advantages(scored, Config().objective)


def with_sampled_logprobs(batch: AdvantageBatch, learner: Learner, params: nnx.State, config: Config) -> AdvantageBatch:
    """Rollout log-probs near the policy's own, as after real sampling; random tokens would all hit the cap or vanish."""
    rollouts = batch.scored.rollouts
    ids = np.arange(rollouts.tokens.size, dtype=np.float32).reshape(rollouts.tokens.shape)
    numbered = replace(batch, scored=replace(batch.scored, rollouts=replace(rollouts, rollout_logprobs=ids)))
    logprobs = np.zeros_like(ids)
    for packed in pack([numbered], config.learner, config.objective):
        filled = packed.loss_weights > 0
        found = learner.token_logprobs(params, packed)[filled]
        logprobs.reshape(-1)[packed.rollout_logprobs[filled].astype(int)] = found
    noise = np.random.default_rng(1).normal(0, 0.02, logprobs.shape).astype(np.float32)
    return replace(batch, scored=replace(batch.scored, rollouts=replace(rollouts, rollout_logprobs=logprobs + noise)))


class OurSide:
    """One learner with its state; a call is one update."""

    def __init__(self, policy: Policy, config: Config, batch: AdvantageBatch) -> None:
        self.learner = Learner(config, policy.decoder)
        self.packed = pack([batch], config.learner, config.objective)
        self.state: TrainState = self.learner.init(nnx.state(policy.decoder))
        self.timing = Timing((), ())
        self.first: dict[str, Any] = {}

    def run(self, *, counted: bool) -> None:
        """One update, finished when this returns."""
        metrics: dict[str, Any] = {}

        def update() -> None:
            release_freed_memory()
            self.state, found = self.learner.update(self.state, self.packed)
            jax.block_until_ready(self.state)
            metrics.update(found)

        timing = measure(update)
        self.timing = self.timing + timing if counted else self.timing
        self.first = self.first or {name: metrics[name][0] for name in ("loss", "grad_norm")}


class TorchSide:
    """The peer's process; a call is one update."""

    def __init__(self, policy: Policy, batch: AdvantageBatch, directory: Path, dtype: str) -> None:
        np.savez(directory / "workload.npz", **torch_workload(batch))
        if not (directory / "model").exists():
            save_huggingface(directory / "model", policy.model_config, nnx.state(policy.decoder), policy.tokenizer)
        script = Path(__file__).parent / "peers" / "torch_learner.py"
        arguments = [directory / "model", directory / "workload.npz", cores(), TORCH_ROWS.value]
        self.process = subprocess.Popen(
            [TORCH_PYTHON.value, str(script), *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.dtype = dtype
        self.versions: dict[str, str] = self._line()["versions"]
        self.timing = Timing((), ())
        self.first: dict[str, Any] = {}
        self.peak_mib = 0.0

    def run(self, *, counted: bool) -> None:
        """One update, finished when this returns."""
        assert self.process.stdin is not None
        self.process.stdin.write(self.dtype + "\n")
        self.process.stdin.flush()
        answer = self._line()
        if counted:
            self.timing = self.timing + Timing((answer["wall_s"],), (answer["cpu_s"],))
        self.first = self.first or answer
        self.peak_mib = peak_memory_mib(self.process.pid)

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(
                f"error: {TORCH_PYTHON.value} ended without an answer (see above); does it have torch and transformers?"
            )
        return json.loads(line)


class TorchWorkload(TypedDict):
    """The arrays that both torch peers read: B completions of N tokens behind prompts, L tokens together."""

    tokens: Int64[np.ndarray, "B L"]
    mask: Int64[np.ndarray, "B L"]
    completion_mask: Float32[np.ndarray, "B N"]
    rollout_logprobs: Float32[np.ndarray, "B N"]
    advantages: Float32[np.ndarray, " B"]


def torch_workload(batch: AdvantageBatch) -> TorchWorkload:
    """The same rollouts unpacked: prompts padded on the left, completions on the right."""
    rollouts = batch.scored.rollouts
    longest = max(len(prompt.token_ids) for prompt in rollouts.prompts)
    count, length = rollouts.tokens.shape
    tokens, mask = np.zeros((count, longest + length), np.int64), np.zeros((count, longest + length), np.int64)
    for b in range(count):
        prompt = rollouts.prompt_of(b).token_ids
        tokens[b, longest - len(prompt) : longest] = prompt
        tokens[b, longest:] = rollouts.tokens[b]
        mask[b, longest - len(prompt) : longest + rollouts.lengths[b]] = 1
    return {
        "tokens": tokens,
        "mask": mask,
        "completion_mask": mask[:, longest:].astype(np.float32),
        "rollout_logprobs": rollouts.rollout_logprobs,
        "advantages": batch.advantages,
    }


def useful_flops(model: ModelConfig, packed: tuple[TrainBatch, ...]) -> float:
    """Operations that the packed tokens need, backward at twice the forward; padding and recomputation count nothing."""
    tokens = packed_fraction(packed)[0]
    targets = sum(int((batch.loss_weights > 0).sum()) for batch in packed)
    head = model.vocab_size * model.width
    body = model.parameter_count - head * (1 if model.tied_embeddings else 2)
    pairs = 0
    for batch in packed:
        for groups, completions in zip(batch.group_ids, batch.completion_ids, strict=True):
            same = (groups[:, None] == groups) & (groups > 0) & ((completions == 0) | (completions[:, None] == completions))
            pairs += int(np.tril(same).sum())
    attention = 2 * model.num_layers * model.num_heads * model.head_size * pairs
    return 6.0 * (body * tokens + head * targets + attention)


def matmul_flops_per_s(dtype: str, rows: int, model: ModelConfig) -> float:
    """What XLA reaches on the MLP's product alone: the roofline of this machine at this moment."""
    x = jnp.ones((rows, model.width), dtype)
    weight = jnp.ones((model.width, model.ffn_width), dtype)
    product = jax.jit(lambda x, w: x @ w)
    product(x, weight).block_until_ready()

    def many() -> None:
        for _ in range(20):
            product(x, weight).block_until_ready()

    return 20 * 2.0 * rows * model.width * model.ffn_width / min(measure(many, 5).wall_s)


def run_alternating(sides: list[Any], repeats: int, between: Callable[[], None]) -> None:
    """One update of each side to compile and warm up, then the measured ones in turns."""
    for turn in range(repeats + 1):
        for side in sides:
            side.run(counted=turn > 0)
        between()


def check_agreement(ours: OurSide, peer: TorchSide) -> None:
    """Refuses to compare different updates; float32 against float32 only."""
    for name in ("loss", "grad_norm"):
        if not np.isclose(ours.first[name], peer.first[name], rtol=1e-2, atol=1e-5):
            raise SystemExit(f"error: not the same update: {name} is {ours.first[name]} here and {peer.first[name]} in torch")


def main(arguments: list[str]) -> None:
    """Measures, prints the table and writes the record."""
    del arguments
    keep_freed_memory()
    console = Console(width=120)
    rows: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as directory:
        for dtype in COMPUTE_DTYPES.value:
            policy = load_policy(POLICY.value, compute_dtype=dtype)
            config = Config(
                learner=LearnerConfig(ROW_TOKENS.value, ROWS.value),
                policy=PolicyConfig(remat=REMAT.value, logits_chunk_tokens=LOGITS_CHUNK.value),
            )
            batch = make_rollouts(policy.model_config.vocab_size)
            scorer = Learner(config, policy.decoder)
            batch = with_sampled_logprobs(batch, scorer, nnx.state(policy.decoder), config)
            ours = OurSide(policy, config, batch)
            peers = [
                TorchSide(policy, batch, Path(directory), peer_dtype)
                for peer_dtype in (TORCH_DTYPES.value if TORCH_PYTHON.value and not rows else [])
            ]
            speeds: list[float] = []
            micro_tokens = ROW_TOKENS.value * ROWS.value
            run_alternating(
                [ours, *peers],
                REPEATS.value,
                lambda: speeds.append(matmul_flops_per_s(dtype, micro_tokens, policy.model_config)),  # noqa: B023
            )
            for peer in peers:
                peer.close()
                versions |= peer.versions
                if peer.dtype == dtype == "float32":
                    check_agreement(ours, peer)
            rows.append(our_row(dtype, ours, policy.model_config, max(speeds)))
            rows += [torch_row(peer, batch) for peer in peers]
    settings = {name: flags.FLAGS[name].value for name in ("prompts", "group_size", "prompt_tokens", "completion_tokens")}
    settings |= {
        name: flags.FLAGS[name].value for name in ("row_tokens", "rows_per_micro_batch", "logits_chunk_tokens", "remat")
    }
    settings |= {"policy": Path(POLICY.value).name, "torch_rows_per_micro_batch": TORCH_ROWS.value}
    console.print(as_table(rows))
    console.print(f"record: {write_record('learner', settings, rows, versions, OUTPUT.value)}", soft_wrap=True)


def our_row(dtype: str, side: OurSide, model: ModelConfig, matmul: float) -> dict[str, Any]:
    """Figures of our side; rates from the median time."""
    seconds = side.timing.median_s
    targets = sum(int((batch.loss_weights > 0).sum()) for batch in side.packed)
    used, all_tokens = packed_fraction(side.packed)
    flops = useful_flops(model, side.packed)
    return {
        "side": "evo_jax",
        "dtype": dtype,
        "completion_tokens_per_s": round(targets / seconds, 1),
        "computed_tokens_per_s": round(used / seconds, 1),
        "packed_fraction": round(used / all_tokens, 3),
        "gflops_per_s": round(flops / seconds / 1e9, 1),
        "matmul_gflops_per_s": round(matmul / 1e9, 1),
        "roofline_share": round(flops / seconds / matmul, 3),
        "peak_mib": round(peak_memory_mib()),
        **side.timing.fields,
        **{f"first_{name}": value for name, value in side.first.items()},
    }


def torch_row(side: TorchSide, batch: AdvantageBatch) -> dict[str, Any]:
    """Figures of torch's side."""
    seconds = side.timing.median_s
    rollouts = batch.scored.rollouts
    prompts = sum(len(rollouts.prompt_of(b).token_ids) for b in range(len(rollouts.lengths)))
    return {
        "side": "torch",
        "dtype": side.dtype,
        "completion_tokens_per_s": round(float(rollouts.lengths.sum()) / seconds, 1),
        "computed_tokens_per_s": round((float(rollouts.lengths.sum()) + prompts) / seconds, 1),
        "peak_mib": round(side.peak_mib),
        **side.timing.fields,
        **{f"first_{name}": side.first[name] for name in ("loss", "grad_norm")},
    }


def as_table(rows: list[dict[str, Any]]) -> Table:
    """One line a side and dtype; `times` is the throughput relative to the first row."""
    table = Table(title=f"update of {PROMPTS.value} x {GROUP_SIZE.value} rollouts, prompt ~{PROMPT_TOKENS.value}, "
                        f"{COMPLETION_TOKENS.value} new tokens")  # fmt: skip
    columns = ("side", "dtype", "completion tokens/s", "s/update", "roofline", "peak MiB", "CPU share", "times")
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        times = row["completion_tokens_per_s"] / rows[0]["completion_tokens_per_s"]
        figures = (f"{row['spread']['median']:.1f}", f"{row['roofline_share']:.0%}" if "roofline_share" in row else "")
        rest = (str(row["peak_mib"]), f"{row['cpu_share']:.2f}", f"{times:.2f}")
        table.add_row(row["side"], row["dtype"], f"{row['completion_tokens_per_s']:.0f}", *figures, *rest)
    return table


if __name__ == "__main__":
    app.run(main)
