"""What admission says of every reasoning-gym dataset: adaptable or why not, refused where and by what evidence.

Command: python -m benchmarks.reasoning_gym_audit [--packages=DIR] [--names=A,B] [--output=FILE]. Writes
results/reasoning_gym_audit.json, one row a dataset, and prints a table. Each dataset is judged by all stages under the default
settings. Where those stop it before S4, or S4 stops for its cost, it is judged again under `RELAXED`, so that its scorer is
seen too.

Every row's evidence replays with the package alone: `reasoning_gym.create_dataset(name, seed=SEED, size=1, **CONFIGURATION)[0]`
is the item, `score_answer(INPUT, item)` its score. Which refusals are defects and which are thresholds of ours that do not
suit a sound dataset is judged by hand, in docs/results.md. A run that is cut off goes on where it was: finished rows are kept.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.record import commit, device
from env_synth.adapters import reasoning_gym
from env_synth.adapters.judging import judge_adapted, run_code
from env_synth.adapters.reasoning_gym import Adapted, GymDataset, GymPackage
from env_synth.admission.candidate import Candidate, Context
from env_synth.admission.records import AdmissionReport, Outcome, StageResult
from env_synth.config import AdmissionConfig
from env_synth.contract import AnswerType, Failure, Split
from env_synth.environment import Environment, open_environment
from env_synth.instances import instance_seed
from env_synth.novelty import Archive
from env_synth.sandbox.host import Sandbox

ROOT = Path(__file__).parents[1]
RELAXED = {"min_prompt_characters": 1, "max_prompt_characters": 200_000, "candidate_cpu_s": 24.0, "call_cpu_s": 5.0}
OURS_ALONE = ("prompt_too_long", "prompt_too_short", "over_cpu_budget", "call_too_slow")
MAX_SHOWN_CHARACTERS = 600
NOT_DATASETS = ("composite",)  # mixes datasets that it is given: no task of its own


def main() -> None:
    """Audits what was asked for and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", help="the site-packages directory that holds reasoning-gym")
    parser.add_argument("--names", default="", help="datasets, parted by commas; default: all")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "reasoning_gym_audit.json")
    options = parser.parse_args()
    package = reasoning_gym.find_package(options.packages)
    known = reasoning_gym.list_datasets(package)
    names = options.names.split(",") if options.names else sorted(set(known) - set(NOT_DATASETS))
    rows = {row["name"]: row for row in _kept(options.output)}
    missing = [known[name] for name in names if name not in rows]
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if missing:
        with reasoning_gym.open_sandbox(package, missing) as sandbox:
            for dataset in missing:
                rows[dataset.name] = audit(dataset, package, sandbox)
                print(_line(rows[dataset.name]), flush=True)
                record: dict[str, Any] = {
                    "benchmark": "reasoning_gym_audit",
                    "system": package.system,
                    "commit": commit(),
                    "started": started,
                }
                record |= {"device": device(), "relaxed": RELAXED, "rows": [rows[name] for name in sorted(rows)]}
                options.output.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    for name in names:
        print(_line(rows[name]))


def audit(dataset: GymDataset, package: GymPackage, sandbox: Sandbox) -> dict[str, Any]:
    """One dataset's row: how it was adapted, the verdict under each setting, every refusal with what replays it."""
    row: dict[str, Any] = {"name": dataset.name, "levels": len(dataset.levels), "curriculum": dataset.has_curriculum}
    adapted = reasoning_gym.adapt(dataset, package, sandbox)
    if isinstance(adapted, Failure):
        return {**row, "adaptable": False, "why_not": f"{adapted.failure_class.value}: {adapted.detail}"}
    report = judge_adapted(adapted, Context(AdmissionConfig(), sandbox, Archive()), all_stages=True)
    if report.reason == "reference_type":  # a rare reference of another shape: our guess was too narrow
        adapted = reasoning_gym.wrap(dataset, package, adapted.family, AnswerType.TEXT)
        report = judge_adapted(adapted, Context(AdmissionConfig(), sandbox, Archive()), all_stages=True)
    row |= {"adaptable": True, "family": adapted.family.value, "answer_type": adapted.answer_type.value}
    row |= {"default": _verdict(report, adapted, sandbox)}
    if not any(result.stage == "S4" and result.reason not in OURS_ALONE for result in report.stages):
        config = AdmissionConfig(**RELAXED)  # type: ignore[arg-type]
        relaxed = judge_adapted(adapted, Context(config, sandbox, Archive()), all_stages=True)
        row["relaxed"] = _verdict(relaxed, adapted, sandbox)
        report = relaxed
    if report.stages[-1].stage in ("S0", "S1"):  # the scorer was not reached: at least see whether it runs answers
        row["scorer_alone"] = _code_alone(adapted, sandbox)
    return row


def _code_alone(adapted: Adapted, sandbox: Sandbox) -> dict[str, Any] | None:
    """S4's grading of answers that are code, outside the stages; None where nothing was run, or no item could be had."""
    with Candidate(adapted.proposal) as candidate:
        result = run_code(candidate, Context(AdmissionConfig(**RELAXED), sandbox, Archive()))  # type: ignore[arg-type]
    return _refusal(result, adapted, sandbox) if result.reason == "runs_answer_as_code" else None


def _verdict(report: AdmissionReport, adapted: Adapted, sandbox: Sandbox) -> dict[str, Any]:
    refusals = [result for result in report.stages if result.outcome is Outcome.REFUSED]
    found = {"verdict": report.verdict.value, "refused_at": report.refused_at, "reason": report.reason}
    return {**found, "refusals": [_refusal(result, adapted, sandbox) for result in refusals]}


def _refusal(result: StageResult, adapted: Adapted, sandbox: Sandbox) -> dict[str, Any]:
    evidence = {key: _clip(value) for key, value in result.evidence.items()}
    found = {"stage": result.stage, "reason": result.reason, "evidence": evidence}
    if "seed" in result.evidence and "level" in result.evidence:
        found["replay"] = _replay(adapted, sandbox, result.evidence["seed"], result.evidence["level"])
    if result.measures:
        found["measures"] = result.measures
    return found


def _replay(adapted: Adapted, sandbox: Sandbox, index: int, level: int) -> dict[str, Any]:
    """The package's own coordinates of an instance, with its question and answer."""
    seed = instance_seed(adapted.proposal.environment_id, Split.TRAIN, index, level)
    with _opened(adapted, sandbox) as environment:
        made = environment.generate(seed, level)
        if isinstance(made, Failure):
            return {"failed": made.detail}
        public, private = made
        question, answer = environment.render(public), environment.reference(public, private)
    levels = adapted.dataset.levels
    configuration = levels[min(level, len(levels) - 1)]
    shown = [value.detail if isinstance(value, Failure) else _clip(value) for value in (question, answer)]
    return {"seed": public["seed"], "configuration": configuration, "question": shown[0], "answer": shown[1]}


def _opened(adapted: Adapted, sandbox: Sandbox) -> Environment:
    opened = open_environment(sandbox, adapted.source)
    if isinstance(opened, Failure):
        raise SystemExit(f"{adapted.name}: {opened.detail}")
    return opened


def _clip(value: Any) -> Any:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return value if len(text) <= MAX_SHOWN_CHARACTERS else text[:MAX_SHOWN_CHARACTERS] + f"... ({len(text)} characters)"


def _kept(path: Path) -> Sequence[dict[str, Any]]:
    return json.loads(path.read_text())["rows"] if path.exists() else []


def _line(row: dict[str, Any]) -> str:
    if not row["adaptable"]:
        return f"{row['name']:<26} not adaptable: {row['why_not'][:90]}"
    words = []
    for setting in ("default", "relaxed"):
        if setting in row:
            reasons = [f"{item['stage']} {item['reason']}" for item in row[setting]["refusals"]]
            words.append(", ".join(reasons) or row[setting]["verdict"])
    return f"{row['name']:<26} {row['family'][:4]} {row['answer_type']:<5} {' | relaxed: '.join(words)}"


if __name__ == "__main__":
    main()
