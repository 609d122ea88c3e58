"""Qwen3-4B and 32B compiled for TPU slices that are not there: memory, operations, collectives and rooflines.

Run: .venv-tpu/bin/python -m benchmarks.topologies [--cases=NAME,...] [--programs=micro-step,decode] [--report=True]

A program takes minutes to compile. Each is written to results/topologies.json as soon as it is there, and what stands there
already is not compiled again: stop it at any time, and go on by the same command. `--report` compiles nothing and prints the
dry run's text from what is there. Left out: weights (none are needed), and any measurement.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from absl import app, flags

from benchmarks.record import ROOT, write_record
from configs.qwen3_4b_pod import get_config
from evo_jax.ahead_of_time import Program, describe_topology
from evo_jax.config import Config
from evo_jax.policy.model_config import ModelConfig, to_huggingface

CASES = flags.DEFINE_list("cases", [], "Which cases; all of them where none is named.")
PROGRAMS = flags.DEFINE_list("programs", ["micro-step", "optimizer step", "decode", "prefill"], "What is compiled.")
REPORT = flags.DEFINE_bool("report", False, "Compile nothing: print what is there.")

# As published in their config.json.
_QWEN3: dict[str, Any] = {
    **{"family": "qwen3", "vocab_size": 151936, "num_kv_heads": 8, "head_size": 128, "qk_norm": True},
    "eos_token_ids": (151645, 151643),
}
MODELS = {
    "Qwen3-4B": ModelConfig(
        num_layers=36,
        width=2560,
        ffn_width=9728,
        num_heads=32,
        rope_theta=5e6,
        tied_embeddings=True,
        max_positions=262144,
        **_QWEN3,
    ),
    "Qwen3-32B": ModelConfig(
        num_layers=64, width=5120, ffn_width=25600, num_heads=64, rope_theta=1e6, max_positions=40960, **_QWEN3
    ),
}
PROMPT_TOKENS = 1024


@dataclass(frozen=True)
class Case:
    """One model on one slice; rows of a micro-batch are one for each place along fsdp, slots eight."""

    name: str
    model: str
    topology: str
    row_tokens: int
    fsdp: int
    context: int

    def config(self, directory: Path) -> Config:
        """configs/qwen3_4b_pod.py with these sizes."""
        config = get_config()
        config.policy.path = str(directory)
        config.mesh.fsdp, config.mesh.context = self.fsdp, self.context
        config.learner.row_tokens, config.learner.rows_per_micro_batch = self.row_tokens, self.fsdp
        config.rollout.max_prompt_tokens = PROMPT_TOKENS
        config.rollout.max_completion_tokens = self.row_tokens - PROMPT_TOKENS
        config.rollout.slots = 8 * self.fsdp
        config.validate()
        return config


ALL = (
    Case("4B-16k-v5p", "Qwen3-4B", "v5p:4x4x4", 16384, 16, 4),
    Case("4B-16k-v5e", "Qwen3-4B", "v5e:16x16", 16384, 32, 8),
    Case("4B-16k-v6e", "Qwen3-4B", "v6e:16x16", 16384, 32, 8),
    Case("32B-16k-v5p", "Qwen3-32B", "v5p:8x8x8", 16384, 64, 8),
    Case("4B-32k-v5p", "Qwen3-4B", "v5p:4x4x4", 32768, 16, 4),
    Case("4B-32k-v5e", "Qwen3-4B", "v5e:16x16", 32768, 32, 8),
    Case("4B-32k-v6e", "Qwen3-4B", "v6e:16x16", 32768, 32, 8),
)
RECORD = ROOT / "results" / "topologies.json"


def read_programs() -> dict[str, dict[str, Program]]:
    """The programs that were compiled so far, by case and name."""
    found: dict[str, dict[str, Program]] = {case.name: {} for case in ALL}
    for row in json.loads(RECORD.read_text())["rows"] if RECORD.exists() else []:
        found[row["case"]][row["name"]] = Program(**{key: value for key, value in row.items() if key != "case"})
    return found


def known_programs(case: Case) -> dict[str, Program]:
    """Those of a case, and those of cases that differ in the length of rows, on which neither of the two depends."""
    found = read_programs()
    alike = [other.name for other in ALL if (case.model, case.topology) == (other.model, other.topology)]
    shared = {name: p for other in alike for name, p in found[other].items() if name in ("optimizer step", "prefill")}
    return shared | found[case.name]


def write_programs(found: dict[str, dict[str, Program]]) -> None:
    """All of them, and what they are of."""
    rows = [{"case": case, **dataclasses.asdict(program)} for case, programs in found.items() for program in programs.values()]
    settings = {"cases": [dataclasses.asdict(case) for case in ALL], "prompt_tokens": PROMPT_TOKENS}
    write_record("topologies", settings, rows, {"libtpu": metadata.version("libtpu")})


def run(case: Case, directory: Path) -> None:
    """Compiles what is missing of a case, and prints the dry run's text."""
    (directory / "config.json").write_text(json.dumps(to_huggingface(MODELS[case.model], dtype="bfloat16")))

    def keep(program: Program) -> None:
        found = read_programs()
        found[case.name][program.name] = program
        write_programs(found)

    wanted = () if REPORT.value else PROGRAMS.value
    print(f"\n== {case.name}: {case.model}, rows of {case.row_tokens:,} tokens")
    describe_topology(
        case.config(directory),
        case.topology,
        lambda text: print(text, flush=True),
        wanted=tuple(wanted),
        known=known_programs(case),
        keep=keep,
    )


def main(arguments: list[str]) -> None:
    """Runs the cases that were asked for."""
    del arguments
    for case in ALL:
        if not CASES.value or case.name in CASES.value:
            with tempfile.TemporaryDirectory() as directory:
                run(case, Path(directory))


if __name__ == "__main__":
    app.run(main)
