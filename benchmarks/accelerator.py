"""Updates and sampling at 16k and 32k tokens on one GPU, beside torch and transformers: tokens/s and share of the chip's peak.

    python -m benchmarks.accelerator --torch_python=/path/to/python-with-torch [--cases=0.6B-full-16k,...] [--trial=True]
Weights are random, of Qwen3's shapes, and the same on both sides. Sides take turns in processes of their own, one on
the device at a time, so that neither holds memory from the other and one that runs out becomes a row that says so. Our own is
measured once for each kernel of `--attention`: a kernel that is refused here is such a row too. Each
case is written to results/accelerator.json when it is there, and cases of the same commit in that file stay: split a run
by --cases. `--trial` runs every part on a tiny model and short rows, for a machine without a GPU. FLOPs are the model's
arithmetic, the same for both sides (`needed_flops`): recomputation counts nothing. Left out: several devices, quality,
prime-rl itself (the shares of the peak that it publishes stand beside ours).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tokenizers
from absl import app, flags
from flax import nnx

from benchmarks.learner import LOGITS_CHUNK, OUTPUT, REPEATS, TORCH_PYTHON, OurSide, make_rollouts, torch_workload
from benchmarks.record import ROOT, Timing, commit, write_record
from benchmarks.topologies import CASES, MODELS
from evo_jax.chips import gpu_of
from evo_jax.config import Config, LearnerConfig, LoraConfig, OptimizerConfig, PolicyConfig
from evo_jax.learner import Learner
from evo_jax.policy.decoder import random_decoder
from evo_jax.policy.huggingface_writing import save_huggingface
from evo_jax.policy.loading import Policy, load_policy
from evo_jax.policy.model_config import ModelConfig
from evo_jax.policy.tokenizer import Tokenizer
from evo_jax.records import AdvantageBatch

TRIAL = flags.DEFINE_bool("trial", False, "A tiny model and short rows: does every part work here?")
STEP_ROWS = flags.DEFINE_integer("step_rows", 4, "Rows of one update, the same on both sides.")
TURNS = flags.DEFINE_integer("turns", 2, "Processes of each side and case, in turns; --repeats updates are measured in each.")
LIMIT_S = flags.DEFINE_integer("limit_s", 540, "Seconds after which a process of either side is given up.")
ATTENTION = flags.DEFINE_multi_enum(
    "attention", ["xla", "cudnn"], ["auto", "xla", "cudnn"], "Kernels of our update's attention, each a side of its own."
)
PART = flags.DEFINE_string("part", "", "What this process does for another (weights or ours); empty: all of it.")
WORK = flags.DEFINE_string("work", "", "Directory shared with that process.")

SHAPES = {
    "4B": MODELS["Qwen3-4B"],
    # As published in its config.json.
    "0.6B": replace(
        MODELS["Qwen3-4B"], num_layers=28, width=1024, ffn_width=3072, num_heads=16, rope_theta=1e6, max_positions=40960
    ),
    "tiny": replace(
        MODELS["Qwen3-4B"],
        vocab_size=512,
        num_layers=2,
        width=64,
        ffn_width=128,
        num_heads=4,
        num_kv_heads=2,
        head_size=16,
        eos_token_ids=(1,),
    ),
}
LORA_RANK = 16
# Shares of the peak that prime-rl publishes for its own steps.
PRIME_RL = {("0.6B", 0): 0.111, ("4B", LORA_RANK): 0.217}
MICRO_ROWS = (4, 2, 1)
KEPT_FREE = 0.1  # of the device's memory, for what XLA does not tell of


@dataclass(frozen=True)
class Case:
    """One shape: an update with rows of `length` tokens, or, with a `batch`, as many completions of `length` tokens sampled."""

    name: str
    shape: str
    length: int
    rank: int = 0
    batch: int = 0


ALL = (
    Case("0.6B-full-16k", "0.6B", 16384),
    Case("4B-LoRA-16k", "4B", 16384, LORA_RANK),
    Case("0.6B-decode", "0.6B", 512, batch=64),
    Case("4B-decode", "4B", 512, batch=64),
    Case("0.6B-full-32k", "0.6B", 32768),
    Case("4B-LoRA-32k", "4B", 32768, LORA_RANK),
    Case("4B-full-16k", "4B", 16384),
    Case("4B-full-32k", "4B", 32768),
)
TRIALS = (Case("tiny-full", "tiny", 256), Case("tiny-LoRA", "tiny", 256, LORA_RANK), Case("tiny-decode", "tiny", 16, batch=8))


def needed_flops(model: ModelConfig, prompt: int, completion: int, rank: int) -> float:
    """Operations of one row: 2 a weight and token forward, 4 a pair and head channel in attention, backward twice that.

    With adapters the frozen weights have no gradient, so their backward is as much as the forward; adapters are left out.
    The head counts for the completion's tokens alone.
    """
    head = model.vocab_size * model.width
    body = model.parameter_count - head * (1 if model.tied_embeddings else 2)
    tokens = prompt + completion
    weights = (4.0 if rank else 6.0) * (body * tokens + head * completion)
    pairs = tokens * (tokens + 1) / 2
    return weights + 12.0 * model.num_layers * model.num_heads * model.head_size * pairs


def batch_of(case: Case) -> AdvantageBatch:
    """`--step_rows` completions of one prompt, each of which fills a row; sampled, as it were, by a uniform policy."""
    prompt = case.length // 16
    completion = case.length - round(1.1 * prompt)
    sizes = {"prompts": 1, "group_size": STEP_ROWS.value, "prompt_tokens": prompt, "completion_tokens": completion}
    for name, size in sizes.items():
        setattr(flags.FLAGS, name, size)
    model = SHAPES[case.shape]
    batch = make_rollouts(model.vocab_size)
    rollouts = batch.scored.rollouts
    uniform = np.full_like(rollouts.rollout_logprobs, -np.log(model.vocab_size))
    return replace(batch, scored=replace(batch.scored, rollouts=replace(rollouts, rollout_logprobs=uniform)))


def config_of(case: Case, micro_rows: int) -> Config:
    """The settings of our side, with the first kernel that was asked for."""
    dtype = "bfloat16" if case.rank else "float32"
    return Config(
        learner=LearnerConfig(case.length, micro_rows),
        policy=PolicyConfig(
            param_dtype=dtype,
            compute_dtype="bfloat16",
            remat="full",
            scan_layers=True,
            attention=ATTENTION.value[0],
            logits_chunk_tokens=LOGITS_CHUNK.value,
        ),
        lora=LoraConfig(rank=case.rank, alpha=float(case.rank)),
        optimizer=OptimizerConfig(),
    )


def save_weights(case: Case, directory: Path) -> None:
    """Random weights of a shape as a Hugging Face directory, with a tokenizer of bytes that nobody reads."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={text: at for at, text in enumerate(alphabet)}, merges=[]))
    backend.decoder = tokenizers.decoders.ByteLevel()
    decoder = random_decoder(SHAPES[case.shape], jax.random.key(0), param_dtype="bfloat16", compute_dtype="bfloat16")
    ends = SHAPES[case.shape].eos_token_ids
    save_huggingface(directory, SHAPES[case.shape], nnx.state(decoder), Tokenizer(backend, {}, eos_token_ids=ends))


def fitting_rows(case: Case, policy: Policy) -> tuple[int, float]:
    """Rows of a micro-batch that XLA says fit the device beside state and loaded weights, and the GiB they take."""
    stats = jax.devices()[0].memory_stats() or {}
    limit = (1 - KEPT_FREE) * stats.get("bytes_limit", float("inf"))
    needed = float("inf")
    for rows in (rows for rows in MICRO_ROWS if rows <= STEP_ROWS.value):
        learner, params = Learner(config_of(case, rows), policy.decoder), nnx.state(policy.decoder)
        memory = learner.lower(params, case.length)["micro-step"].compile().memory_analysis()
        assert memory is not None
        state = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(learner.abstract_state(params).opt_state))
        loaded = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(params))
        kept = memory.output_size_in_bytes - memory.alias_size_in_bytes
        needed = memory.argument_size_in_bytes + kept + memory.temp_size_in_bytes + state + loaded
        if needed <= limit:
            return rows, needed / 2**30
    raise SystemExit(f"out of memory: one row needs {needed / 2**30:.1f} GiB, {limit / 2**30:.1f} GiB may be used")


def run_ours(case: Case, model: Path) -> dict[str, Any]:
    """Our side's measured updates, as torch's process answers."""
    policy = load_policy(model, param_dtype="bfloat16" if case.rank else "float32", compute_dtype="bfloat16")
    rows, gib = fitting_rows(case, policy)
    side = OurSide(policy, config_of(case, rows), batch_of(case))
    for turn in range(REPEATS.value + 1):
        side.run(counted=turn > 0)
    stats = jax.devices()[0].memory_stats() or {}
    return {
        "wall_s": side.timing.wall_s,
        "cpu_s": side.timing.cpu_s,
        **side.first,
        "rows_per_micro_batch": rows,
        "planned_gib": round(gib, 2),
        "attention": side.learner.attention,
        "device_peak_mib": stats.get("peak_bytes_in_use", 0) / 2**20 or None,
        "device_kind": jax.devices()[0].device_kind,
        "versions": {},
    }


def answer_of(command: list[str], record: Path | None = None) -> dict[str, Any]:
    """The last line of a process, or the `record` it wrote, as JSON; or {"failed": why}: a case that fails ends no run."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S.value)
    except subprocess.TimeoutExpired:
        return {"failed": f"took longer than {LIMIT_S.value} s"}
    except OSError as error:
        return {"failed": f"{command[0]} cannot be started: {error.strerror}"}
    if done.returncode:
        text = done.stderr.strip() or f"ended with {done.returncode}"
        lines = [line for line in text.splitlines() if line.strip()]
        memory = [line for line in lines if "out of memory" in line.lower() or "RESOURCE_EXHAUSTED" in line]
        told = [*memory, *(line for line in reversed(lines) if "Error" in line), lines[-1]][0]
        return {"failed": told.strip()[:300]}
    answer: dict[str, Any] = json.loads(record.read_text() if record else done.stdout.strip().splitlines()[-1])
    return answer


def our_command(part: str, case: Case, work: Path, attention: str = "auto") -> list[str]:
    """This script again, for one part of one case."""
    passed = {"repeats": REPEATS.value, "step_rows": STEP_ROWS.value, "logits_chunk_tokens": LOGITS_CHUNK.value}
    options = [f"--{name}={value}" for name, value in passed.items()]
    return [
        sys.executable,
        "-m",
        "benchmarks.accelerator",
        f"--part={part}",
        f"--cases={case.name}",
        f"--work={work}",
        f"--attention={attention}",
        *options,
    ]


def train_rows(case: Case, work: Path, versions: dict[str, str]) -> list[dict[str, Any]]:
    """All sides of an update in turns; a side that failed once is not tried again."""
    model, workload, batch = work / case.shape, work / "workload.npz", batch_of(case)
    np.savez(workload, **torch_workload(batch))
    peer = [str(ROOT / "benchmarks" / "peers" / "torch_accelerator.py"), str(model), str(workload)]
    commands = {f"evo_jax {kernel}": our_command("ours", case, work, kernel) for kernel in ATTENTION.value}
    if TORCH_PYTHON.value:
        sizes = (case.rank, REPEATS.value, LOGITS_CHUNK.value)
        commands["torch"] = [TORCH_PYTHON.value, *peer, *map(str, sizes)]
    answers: dict[str, list[dict[str, Any]]] = {side: [] for side in commands}
    for _ in range(TURNS.value):
        for side, command in commands.items():
            if not any("failed" in answer for answer in answers[side]):
                answers[side].append(answer_of(command))
    rollouts = batch.scored.rollouts
    prompt, completion = len(rollouts.prompts[0].token_ids), int(rollouts.lengths[0])
    work_of = (
        STEP_ROWS.value * (prompt + completion),
        STEP_ROWS.value * needed_flops(SHAPES[case.shape], prompt, completion, case.rank),
    )
    ours = [answer for side, found in answers.items() if side != "torch" for answer in found]
    kind = next((answer["device_kind"] for answer in ours if "device_kind" in answer), "")
    for found in answers.values():
        versions |= found[0].get("versions", {})
    return [train_row(case, side, found, work_of, kind) for side, found in answers.items()]


def train_row(
    case: Case, side: str, answers: list[dict[str, Any]], work: tuple[float, float], device_kind: str
) -> dict[str, Any]:
    """The figures of one side over all its turns; `work` are tokens and FLOPs of an update."""
    row: dict[str, Any] = {"case": case.name, "side": side}
    failed = [answer["failed"] for answer in answers if "failed" in answer]
    if failed:
        return row | {"failed": failed[0]}
    timing = Timing(*(tuple(x for answer in answers for x in answer[key]) for key in ("wall_s", "cpu_s")))
    chip = gpu_of(device_kind)
    row |= {key: value for key, value in answers[0].items() if key not in ("wall_s", "cpu_s", "versions", "device_kind")}
    return row | {
        "accelerator": device_kind,
        "tokens_per_s": round(work[0] / timing.median_s, 1),
        "gflops_per_s": round(work[1] / timing.median_s / 1e9, 3),
        "mfu": round(work[1] / timing.median_s / chip.flops, 4) if chip else None,
        "prime_rl_published_mfu": PRIME_RL.get((case.shape, case.rank)),
        **timing.fields,
    }


def decode_rows(case: Case, work: Path, versions: dict[str, str]) -> list[dict[str, Any]]:
    """benchmarks/rollouts.py on the same weights; both engines hold the device together and take turns."""
    record = work / "decode.json"
    options = {"policy": work / case.shape, "compute_dtype": "bfloat16", "batches": case.batch, "new_tokens": case.length}
    options |= {"repeats": REPEATS.value, "torch_dtypes": "bfloat16", "torch_python": TORCH_PYTHON.value, "output": record}
    command = [sys.executable, "-m", "benchmarks.rollouts", *(f"--{name}={value}" for name, value in options.items())]
    answer = answer_of(command, record)
    if "failed" in answer:
        return [{"case": case.name, "side": "both", "failed": answer["failed"]}]
    versions |= {name: answer["versions"][name] for name in ("torch", "transformers") if name in answer["versions"]}
    return [{"case": case.name, "side": row.pop("engine"), **row} for row in answer["rows"]]


def main(arguments: list[str]) -> None:
    """One part for another process, or all cases that were asked for."""
    del arguments
    known = {case.name: case for case in (*ALL, *TRIALS)}
    wrong = set(CASES.value) - set(known)
    if wrong:
        raise app.UsageError(f"--cases={','.join(sorted(wrong))}: known are {', '.join(known)}")
    if PART.value:
        case = known[CASES.value[0]]
        if PART.value == "weights":
            save_weights(case, Path(WORK.value) / case.shape)
        answer = run_ours(case, Path(WORK.value) / case.shape) if PART.value == "ours" else {}
        print(json.dumps(answer), flush=True)
        return
    # Two engines share the device while they take turns at decoding.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    cases = [known[name] for name in CASES.value] or (TRIALS if TRIAL.value else ALL)
    output = Path(OUTPUT.value or ROOT / "results" / f"accelerator{'_trial' if TRIAL.value else ''}.json")
    before = json.loads(output.read_text()) if output.exists() else {}
    if before.get("commit") != commit():
        before = {"rows": [], "versions": {}}  # one record speaks of one commit
    rows, versions = before["rows"], {k: v for k, v in before["versions"].items() if k in ("torch", "transformers")}
    settings: dict[str, Any] = {
        "turns": TURNS.value,
        "repeats": REPEATS.value,
        "step_rows": STEP_ROWS.value,
        "lora_rank": LORA_RANK,
    }
    settings |= {"logits_chunk_tokens": LOGITS_CHUNK.value, "cases": [asdict(case) for case in cases]}
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        for case in cases:
            made = {} if (work / case.shape).exists() else answer_of(our_command("weights", case, work))
            measure = decode_rows if case.batch else train_rows
            found = [{"case": case.name, "side": "weights", **made}] if made else measure(case, work, versions)
            rows = [row for row in rows if row["case"] != case.name] + found
            write_record("accelerator", settings, rows, versions, str(output))
            for row in found:
                keys = ("failed", "tokens_per_s", "mfu", "prime_rl_published_mfu", "loss", "grad_norm", "spread")
                print(case.name, row["side"], {key: row[key] for key in keys if key in row}, flush=True)


if __name__ == "__main__":
    app.run(main)
