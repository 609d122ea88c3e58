"""What S8 catches: the sentinels, the corpus's semantic defects, and the sound sources that it must let through.

Command: python -m benchmarks.semantic [--solver=URL --model=NAME | --run=RUN] [--reply_tokens=N] [--only=sentinels]. Prints one
table and writes results/semantic.json (with a model: results/semantic_NAME.json). With a run the policy of its newest
checkpoint is asked, and in place of the corpus about what it wrote itself and what passed the mechanical stages, labelled by
benchmarks/theme_truth.py where its questions are those that this knows. Without a solver a scripted double stands in, named
so: it reviews everything as sound, and hands in the second references and verifiers that were written by hand from the prompts
alone (tests/env_synth/seed_opinions, corpus/brute_force), so that the numbers show what second opinions see when their author
is right, and nothing about any model. Defects for which nobody wrote one are left out then. Left out: the mechanical stages
(benchmarks/admission.py), which refuse some of these sources before S8 would see them.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.record import write_record
from benchmarks.theme_truth import RIGHT, labelled
from env_synth.admission import semantic
from env_synth.admission.asking import Asking, Lent, Subject, run_alone, run_together
from env_synth.admission.candidate import Candidate, Context
from env_synth.admission.records import Outcome, StageResult
from env_synth.admission.sentinels import Sentinel, built_in_sentinels
from env_synth.admission.static import read_source
from env_synth.config import AdmissionConfig, ModelStagesConfig, SandboxConfig
from env_synth.contract import Proposal
from env_synth.errors import EnvSynthError
from env_synth.novelty import Archive
from env_synth.registry import Registry
from env_synth.sandbox.host import Sandbox
from env_synth.solver.http import HttpSolver
from evo_jax.checkpoint import CheckpointError
from evo_jax.config import ConfigError
from evo_jax.engines import build_engine
from evo_jax.lent_models import EngineSolver, PromptLimits
from evo_jax.policy.loading import PolicyError
from evo_jax.restoring import restore_policy
from evo_jax.run_directory import read_config
from tests.env_synth.scripted_double import ScriptedDouble, seed_author

CORPUS = Path(__file__).parents[1] / "tests" / "env_synth" / "corpus"
TOGETHER = 8  # sources that a model is asked about at once
# Broken source -> the clean one for whose prompts a second reference was written; the prompts are the same but for the defect.
AUTHORS = {
    "off_by_one_steps": "automaton_row",
    "greedy_coins": "knapsack",
    "greedy_matrix_chain": "matrix_chain",
    "wrong_on_ties": "increasing_sum",
    "diagonal_islands": "islands",
    "wrong_direction": "torus_robot",
    "ambiguous_rounding": "ledger",
    "ambiguous_order": "task_order",
    "only_the_planted_clique": "clique",
    "clique_repeats_allowed": "clique",
}


def main() -> None:
    """Sends the sources through S8, prints the table, writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--solver", default="")
    parser.add_argument("--model", default="")
    parser.add_argument("--run", type=Path, help="run directory: its own policy, and the proposals it passed on")
    parser.add_argument("--only", choices=("sentinels", "corpus", "run"), default="")
    parser.add_argument("--reply_tokens", type=int, default=ModelStagesConfig().review_tokens, help="of reviews and opinions")
    options = parser.parse_args()
    settings = ModelStagesConfig(review_tokens=options.reply_tokens, opinion_tokens=options.reply_tokens)
    if options.run is not None and (options.solver or options.model):
        sys.exit("error: --run asks the run's own policy: leave --solver and --model out")
    if options.only == ("corpus" if options.run is not None else "run"):
        sys.exit(f"error: --only={options.only}: with --run there is its own group and no corpus, without it there is no run")
    solver = options.model or (ScriptedDouble().name if options.run is None else options.run.resolve().name)
    groups: dict[str, list[tuple[Sentinel, str]]] = {}
    if options.only in ("", "sentinels"):
        groups["sentinels"] = [(sentinel, "") for sentinel in built_in_sentinels()]
    if options.run is None and options.only != "sentinels":
        groups["corpus"] = corpus_sources(everything=bool(options.solver))
    rows: list[dict[str, Any]] = []
    with Sandbox(SandboxConfig()) as sandbox:
        context = Context(AdmissionConfig(), sandbox, Archive())
        if options.run is not None and options.only != "sentinels":
            groups["run"] = run_sources(options.run, context)
        lent = Lent(HttpSolver(options.solver, options.model), settings) if options.solver else None
        if options.run is not None:
            lent = Lent(run_solver(options.run), settings)
        for group, sources in groups.items():
            rows += judged(group, sources, context, lent)
    show(rows)
    name = "semantic" if lent is None else f"semantic_{re.sub(r'[^A-Za-z0-9.-]+', '_', solver)}"
    write_record(name, {"solver": solver, "reply_tokens": options.reply_tokens}, rows, {})


def run_sources(run_dir: Path, context: Context) -> list[tuple[Sentinel, str]]:
    """The proposals of a run that passed all mechanical stages, admitted or refused by a stage that asks a model."""
    with Registry.open(run_dir / "registry", writable=False) as registry:
        rows = labelled(registry, context)
    found = []
    for row in rows:
        defect = "" if row["truth"] == RIGHT else row["truth"]
        found.append((Sentinel(f"{row['environment'][:8]} {row['verdict']}", row["source"], defect), ""))
    return found


def run_solver(run_dir: Path) -> EngineSolver:
    """The policy of a run's newest checkpoint."""
    config = read_config(run_dir)
    restored = restore_policy(run_dir, None, compute_dtype=config.policy.compute_dtype, note=print)
    policy = restored.start
    config.rollout.engine, config.env_synth.model_stages.stages = "embedded", ("S8",)
    engine = build_engine(config, policy)
    engine.load_weights(restored.params, restored.step)
    limits = PromptLimits(config.evolve.max_review_prompt_tokens, policy.model_config.max_positions)
    return EngineSolver(engine, policy.tokenizer, limits)


def corpus_sources(everything: bool) -> list[tuple[Sentinel, str]]:
    """(source, its second reference) of the clean corpus and of the defects that need thought."""
    labels = json.loads((CORPUS / "labels.json").read_text())["broken"]
    found = [
        (Sentinel(path.stem, path.read_text()), (CORPUS / "brute_force" / path.name).read_text())
        for path in sorted((CORPUS / "clean").glob("*.py"))
    ]
    for name, label in labels.items():
        if name in AUTHORS or (everything and not label["mechanically_visible"]):
            source = (CORPUS / "broken" / f"{name}.py").read_text()
            author = (CORPUS / "brute_force" / f"{AUTHORS[name]}.py").read_text() if name in AUTHORS else ""
            found.append((Sentinel(name, source, label["defect"]), author))
    return found


def judged(group: str, sources: list[tuple[Sentinel, str]], context: Context, lent: Lent | None) -> list[dict[str, Any]]:
    """One row a source: what S8 said of it."""
    results: dict[int, StageResult] = {}
    if lent is not None:
        for start in range(0, len(sources), TOGETHER):
            jobs = [job(sentinel, context, lent) for sentinel, _ in sources[start : start + TOGETHER]]
            results |= {start + place: result for place, result in run_together(jobs, lent)}
            print(f"{group}: {len(results)} of {len(sources)} judged", file=sys.stderr)
    else:
        for place, (sentinel, author) in enumerate(sources):
            double = Lent(ScriptedDouble(opinion=author or seed_author))
            results[place] = run_alone(job(sentinel, context, double), double)
    return [
        {
            "group": group,
            "source": sentinel.name,
            "defect": sentinel.defect,
            "outcome": results[place].outcome.value,
            "reason": results[place].reason,
            "lenses": [review["verdict"] for review in results[place].measures.get("reviews", ())],
            "cpu_s": round(results[place].cpu_s, 3),
        }
        for place, (sentinel, _) in enumerate(sources)
    ]


def job(sentinel: Sentinel, context: Context, lent: Lent) -> Asking[StageResult]:
    """S8 on one source."""
    facts, _, _ = read_source(sentinel.source)
    with Candidate(Proposal(sentinel.source, "sentinel"), facts) as candidate:
        return (yield from semantic.check(Subject(candidate, context, lent)))


def show(rows: list[dict[str, Any]]) -> None:
    """One row a group and defect."""
    table = Table(title="S8")
    for title in ("group", "defect", "sources", "refused", "by reason", "CPU s, mean"):
        table.add_column(title)
    for group, defect in dict.fromkeys((row["group"], row["defect"]) for row in rows):
        here = [row for row in rows if (row["group"], row["defect"]) == (group, defect)]
        refused = [row["reason"] for row in here if row["outcome"] == Outcome.REFUSED.value]
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(Counter(refused).items()))
        mean = sum(row["cpu_s"] for row in here) / len(here)
        table.add_row(group, defect or "(sound)", str(len(here)), str(len(refused)), reasons, f"{mean:.2f}")
    Console(width=140).print(table)


if __name__ == "__main__":
    try:
        main()
    except (EnvSynthError, ConfigError, CheckpointError, PolicyError) as error:
        sys.exit(f"error: {error}")
