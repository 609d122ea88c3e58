"""The end of a run in a few lines of text, for the terminal and for summary.txt.

Left out on purpose: curves, sources and anything a model wrote beyond names (the page has those).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from env_synth.printable import printable
from evo_jax.report.findings import Funnel, HeldOut, duration, funnels, held_out, phase_times, wall_time_s
from evo_jax.report.life import decisions_in_a_sentence
from evo_jax.report.records import ReportEnvironments
from evo_jax.report.run_files import RunFiles, read_run_files

SUMMARY_FILE = "summary.txt"


def write_summary(run_dir: Path, registry_view: ReportEnvironments) -> str:
    """Writes summary.txt to `run_dir` and returns its text, which is safe for a terminal."""
    run = read_run_files(Path(run_dir))
    parts = [*sentences(run, registry_view), "", *_environment_lines(held_out(run.evaluations)), *_places(run)]
    text = "\n".join(parts).strip() + "\n"
    (Path(run_dir) / SUMMARY_FILE).write_text(text, encoding="utf-8")
    return text


def sentences(run: RunFiles, registry_view: ReportEnvironments) -> list[str]:
    """What was trained, what came of it, what was admitted, where the time went: one sentence each, none where nothing is."""
    told = [_trained(run, registry_view)]
    outcome = held_out(run.evaluations)
    if outcome is not None:
        told.append(_held_out_sentence(outcome))
    told += [_funnel_sentence(funnel) for funnel in funnels(run.metrics, registry_view.late_counts, registry_view.stage_order)]
    decisions = decisions_in_a_sentence(registry_view)
    if decisions:
        told.append(f"Decisions on environments in the pool: {printable(decisions, 400)}.")
    if registry_view.containment:
        told.append(_containment_sentence(registry_view.containment))
    phases = phase_times(run.timings)
    if phases:
        label, seconds = phases[0]
        total_s = wall_time_s(run.timings)
        told.append(f"It took {duration(total_s)}, most of it {label} ({seconds / max(total_s, 1e-9):.0%}).")
    return told


def _containment_sentence(containment: str) -> str:
    if containment.endswith("-unsafe"):
        return (
            "WARNING: this machine cannot contain untrusted environments, and unsafe_trust_code let them run all the same: "
            "whatever the model wrote has run with the rights of the user who started this."
        )
    return f"Untrusted environments ran contained at {containment} (docs/sandbox.md)."


def model_name(config: dict[str, Any]) -> str:
    """The name of the model's file or directory."""
    path = str(config.get("policy", {}).get("path", "")) if isinstance(config.get("policy"), dict) else ""
    return printable(Path(path).name, 80) or "the policy"


def _trained(run: RunFiles, registry_view: ReportEnvironments) -> str:
    origins = [environment.origin for environment in registry_view.environments]
    kinds = (
        ("seed", "seed", "seeds"),
        ("composite", "composite", "composites"),
        ("proposal", "written by the policy itself", "written by the policy itself"),
        ("file", "from a file", "from files"),
    )
    counted = [f"{origins.count(origin)} {one if origins.count(origin) == 1 else many}" for origin, one, many in kinds]
    made_of = ", ".join(text for text in counted if not text.startswith("0 "))
    steps = max((int(line["step"]) for line in run.metrics), default=0)
    random = isinstance(run.config.get("data"), dict) and run.config["data"].get("rewards") == "random"
    control = " with random rewards (a control)" if random else ""
    return (
        f"{model_name(run.config)} was trained for {_count(steps, 'step')}{control} on {_count(len(origins), 'environment')}"
        + (f": {made_of}." if made_of else ".")
    )


def _held_out_sentence(outcome: HeldOut) -> str:
    before, after = outcome.total.before, outcome.total.after
    if outcome.first_step == outcome.last_step:
        return (
            f"Held-out solve rate at step {outcome.last_step}: {after.value:.3f} ({after.solved} of {after.samples} replies)."
        )
    verb = "rose" if after.value > before.value else "fell" if after.value < before.value else "stayed"
    error = (
        ""
        if outcome.standard_error is None
        else f", standard error {outcome.standard_error:.3f} over {outcome.prompts} prompts"
    )
    return (
        f"Held-out solve rate {verb} from {before.value:.3f} ({before.solved} of {before.samples} replies) to "
        f"{after.value:.3f} ({after.solved} of {after.samples}): {after.value - before.value:+.3f}{error}."
    )


def _funnel_sentence(funnel: Funnel) -> str:
    whose = {"proposals": "proposal of the policy", "composites": "composite"}[funnel.kind]
    refused = ", ".join(f"{_name(row.stage).replace('_', ' ')} {row.refused}" for row in funnel.stages if row.refused)
    one = funnel.tried == 1
    plural = whose if one else whose.replace("proposal", "proposals").replace("composite", "composites")
    return f"{funnel.tried} {plural} {'was' if one else 'were'} tried, {funnel.admitted} admitted" + (
        f"; refused at {refused}." if refused else "."
    )


def _environment_lines(outcome: HeldOut | None) -> list[str]:
    if outcome is None:
        return []
    width = max(len(_name(change.name)) for change in outcome.environments)
    rows = [f"{'held-out solve rate':{width}}   step {outcome.first_step:<12} step {outcome.last_step}"]
    for change in outcome.environments:
        before, after = change.before, change.after
        first = f"{before.value:.2f} ({before.solved}/{before.samples})"
        rows.append(f"{_name(change.name):{width}}   {first:17} {after.value:.2f} ({after.solved}/{after.samples})")
    return [*rows, ""]


def _name(name: str) -> str:
    return printable(name, 48).replace("\n", " ")


def _places(run: RunFiles) -> list[str]:
    places = []
    if run.checkpoints:
        places.append(f"last checkpoint: {run.checkpoints[-1]}")
    places += [f"export: {path}" for path in run.exports]
    return places


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
