"""A double of a finished run: a run directory with the files a run leaves, filled with plausible invented numbers."""

import hashlib
import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evo_jax.report import ReportDecision, ReportEnvironment, ReportEnvironments, ReportExample, ReportRefusal

STEPS = 24
STAGES = ("S0", "N1", "S1", "S2", "S3", "S4", "S5", "S8", "S9", "N2")
MODEL_STAGES = ("S8", "S9", "N2")
SEEDS = (
    "register_machine",
    "edit_distance",
    "toll_shortest_path",
    "linear_recurrence",
    "interval_scheduling",
    "grid_paths",
    "subset_sum",
    "graph_colouring",
    "hamiltonian_path",
    "latin_square",
)
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'>{{ 7*7 }}\x1b[31m\u202egnp.exe\x00[bold]x[/]\ud800"


def identity(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def double_environments(hostile: str = "") -> ReportEnvironments:
    environments = []
    for name in SEEDS:
        source = (
            f"class {name.title().replace('_', '')}:\n    family = 'compute'\n    answer_type = 'int'\n" + "    # body\n" * 40
        )
        example = ReportExample(1, f"A problem of {name}.\nGive one integer.\n" + "1 2 3 4\n" * 6 + hostile, "42" + hostile)
        environments.append(
            ReportEnvironment(identity(source), name, name, "seed", (), name, "compute", "active", (0, 1), 0, source, example)
        )
    environments += made_environments(environments, hostile)
    refusals = [
        ReportRefusal(
            identity(f"{stage}{number}"),
            "proposal" if number % 2 else "composite",
            "",
            stage,
            reason + hostile,
            {"seed": 3, "level": 2, "input": "unused = 1", "expected": "1.0", "got": "0.0" + hostile},
            "import os\n\n\nclass Broken:\n    def generate(self, rng, level):\n        return os.listdir('/')\n" + hostile,
            number,
        )
        for number, (stage, reason) in enumerate(
            (
                ("S0", "forbidden_import"),
                ("S0", "missing_method"),
                ("S4", "junk_accepted"),
                ("S1", "raises"),
                ("S0", "forbidden_import"),
            )
        )
    ]
    return ReportEnvironments(
        tuple(environments),
        tuple(refusals),
        STAGES,
        {"proposals/asked": 4.0, "proposals/refused/S0": 4.0},
        model_stages=MODEL_STAGES,
    )


def made_environments(seeds: list[ReportEnvironment], hostile: str) -> list[ReportEnvironment]:
    """Two composites, a proposal, one that a later prompt showed it for, and a refused attempt that was repaired."""
    sources = [f"class Made{number}:\n    family = 'compute'\n    # a long line {'x' * 300}{hostile}" for number in range(5)]
    ids = [identity(source) for source in sources]
    seed_parents = (seeds[0].environment_id, seeds[3].environment_id)
    table = (
        ("composite", "active", 0, seed_parents),
        ("composite", "quarantined", 2, seed_parents),
        ("proposal", "retired", 4, (seeds[1].environment_id,)),
        ("proposal", "active", 8, (ids[2],)),
        ("proposal", "active", 12, (identity("S13"),)),
    )
    made = []
    for number, (origin, status, step, parents) in enumerate(table):
        decisions = [ReportDecision(step, "admitted", level=1)]
        evidence = {"solved": 15, "replies": 16, "rounds": 2, "level": 1, "detail": "as told" + hostile}
        if status != "active":
            decisions.append(ReportDecision(step + 6, "status", status=status, reason="mastered" + hostile, evidence=evidence))
        elif origin == "proposal":
            decisions.append(ReportDecision(step + 6, "level", level=2, reason="level up", evidence=evidence))
        nearest = seeds[number].environment_id
        measures: dict[str, dict[str, Any]] = {
            "N1": {"archived": 9, "code_containment": 0.2 + number / 10, "nearest_by_code": nearest},
            "S9": {"level": 1, "solved": 11, "replies": 32, "solve_rate": 0.3438, "mixed_fraction": 0.75, "learnability": 0.2},
            "N2": {"novelty": 0.9, "similarity": 0.5 + number / 10, "nearest": nearest + hostile},
        }
        example = ReportExample(1, f"A problem of Made{number}." + hostile, "12" + hostile)
        label, name = f"Made{number}", f"Made{number}-{ids[number][:6]}{hostile}"
        place = (ids[number], name, label, origin, parents, "chain", "compute", status, (0, 1), step, sources[number])
        made.append(ReportEnvironment(*place, example, tuple(decisions), measures if origin == "proposal" else {}))
    return made


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def round_counts(step: int) -> dict[str, float]:
    """Four proposals and a composite asked for; one proposal admitted at three of the rounds, two composites in all."""
    admitted, composed = float(step in (5, 9, 13)), float(step in (1, 3))
    counts = {"proposals/asked": 4.0, "proposals/refused/no_code_block": 2.0, "proposals/refused/S0": 1.0}
    counts |= {"proposals/refused/S4": 1.0 - admitted, "proposals/admitted": admitted, "proposals/noted/S8": admitted}
    counts |= {"composites/tried": 1.0, "composites/admitted": composed, "composites/refused/N1": 1.0 - composed}
    counts |= {"proposer/reward": 0.02 * step / STEPS}
    if admitted:
        counts |= {"proposals/solve_rate": 0.34, "proposals/mixed_fraction": 0.75, "proposals/novelty": 0.9}
    if step % 6 == 1:
        counts |= {"review/recall": 0.8, "review/false_refusals": 0.1}
    return counts


def double_run(directory: Path, hostile: str = "") -> ReportEnvironments:
    """Fills `directory` like a run of 24 steps that learned something; `hostile` is put wherever a model's text can be."""
    rng = random.Random(0)
    view = double_environments(hostile)
    names = [record.name for record in view.environments]
    labels = [record.metric_label for record in view.environments]
    metrics, timings, samples, evaluations = [], [], [], []
    for step in range(STEPS + 1):
        gain = 1 - math.exp(-step / 9)
        if step in (0, STEPS):
            for place, name in enumerate(names[:10]):
                solved = min(16, int(2 + place * 0.7 + gain * (9 - place) + rng.random()))
                prompts = [{"instance_id": f"{name}{i}", "solved": (solved + i) // 4, "samples": 4} for i in range(4)]
                environment_id = view.environments[place].environment_id
                evaluations.append(
                    {"step": step, "environment_id": environment_id, "environment_name": name, "level": 0}
                    | {"solved": solved, "samples": 16, "prompts": prompts}
                )
        if step == 0:
            metrics.append({"step": 0, "eval/solve_rate": 0.31})
            continue
        line = {"step": step, "reward": 0.2 + 0.3 * gain + rng.gauss(0, 0.02), "entropy": 1.8 - 1.1 * gain, "grad_norm": 0.4}
        line |= {
            "solve_rate": line["reward"],
            "completions/mean_length": 30 - 9 * gain,
            "frac_reward_zero_std": 0.3 + 0.2 * gain,
        }
        line |= {"completions/clipped_ratio": 0.3 - 0.2 * gain, "frac_invalid": 0.0, "loss": 0.01}
        line |= {"sampling/logprob_difference/mean": 2e-5 + rng.random() * 1e-5}
        for label in rng.sample(labels, 8):
            line[f"solve_rate/{label}"] = min(1.0, max(0.0, 0.2 + 0.4 * gain + rng.gauss(0, 0.1)))
        if step % 2:
            line |= round_counts(step)
        if step == STEPS:
            line["eval/solve_rate"] = 0.56
        metrics.append(line)
        rollouts_s, update_s = 6 + rng.random(), 4 + rng.random()
        timings.append(
            {"step": step, "time/rollouts": rollouts_s, "time/update": update_s, "time/scoring": 0.9, "time/snapshot": 0.4}
            | {
                "time/step": rollouts_s + update_s + 1.6,
                "perf/rollout_tokens_per_s": 4100 / rollouts_s,
                "memory/peak_mib": 3400.0,
            }
            | {"perf/update_tokens_per_s": 5200 / update_s}
            | ({"time/checkpoint": 1.4} if step % 8 == 0 else {})
            | ({"time/evaluation": 12.0} if step == STEPS else {})
        )
        for place in rng.sample(range(len(names)), 4):
            right = rng.random() < 0.5
            samples.append(
                {"step": step, "role": "solver", "environment_id": view.environments[place].environment_id, "level": 1}
                | {"environment_name": names[place], "prompt": "What is 3 + 4?" + hostile, "reward": float(right)}
                | {
                    "reply": f"First I add the numbers. The answer is {7 if right else 9}." + hostile,
                    "valid": rng.random() < 0.9,
                }
                | {"reference_answer": "7" + hostile}
            )
        if step % 6 == 0:
            reply = "Here is an environment:\n```python\nclass SumOfDigits:\n    family = 'compute'\n```\n" + hostile
            samples.append({"step": step, "role": "proposer", "reply": reply, "reward": 0.03 * step / 6, "valid": True})
    config = {"run_dir": "runs/double", "seed": 0, "steps": STEPS, "policy": {"path": "models/SmolLM2-135M-Instruct.Q4_1.gguf"}}
    machine = {"platform": "Linux-6.1-x86_64-with-glibc2.36", "cores": 2}
    provenance = {"commit": "0123456789ab", "versions": {"python": "3.12.4", "jax": "0.12.0"}, "machine": machine}
    (directory / "config.json").write_text(json.dumps({"config": config, **provenance}))
    write_lines(directory / "metrics.jsonl", metrics)
    write_lines(directory / "timings.jsonl", timings)
    write_lines(directory / "evaluations.jsonl", evaluations)
    write_lines(directory / "samples.jsonl", samples)
    (directory / "checkpoints" / "24").mkdir(parents=True)
    (directory / "export").mkdir()
    (directory / "export" / "config.json").write_text("{}")
    return view


@pytest.fixture
def run_double(tmp_path: Path) -> tuple[Path, ReportEnvironments]:
    return tmp_path, double_run(tmp_path)


@pytest.fixture
def hostile_run(tmp_path: Path) -> tuple[Path, ReportEnvironments]:
    return tmp_path, double_run(tmp_path, HOSTILE)


@pytest.fixture
def seeds_only_run(run_double: tuple[Path, ReportEnvironments]) -> tuple[Path, ReportEnvironments]:
    """A run with evolution switched off."""
    run_dir, view = run_double
    outer = ("proposals/", "composites/", "proposer/", "review/")
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    kept = [{name: value for name, value in line.items() if not name.startswith(outer)} for line in lines]
    write_lines(run_dir / "metrics.jsonl", kept)
    samples = [json.loads(line) for line in (run_dir / "samples.jsonl").read_text().splitlines()]
    write_lines(run_dir / "samples.jsonl", [sample for sample in samples if sample["role"] == "solver"])
    admitted = (ReportDecision(0, "admitted", level=0),)
    seeds = tuple(replace(record, decisions=admitted) for record in view.environments if record.origin == "seed")
    return run_dir, ReportEnvironments(seeds, (), STAGES, model_stages=MODEL_STAGES)
