"""The page: one HTML file that needs nothing beside it, with a policy that forbids scripts and every remote source.

Everything that a model, a file name or a config may have put into a text goes through `printable` (which shortens it) and the
template's automatic escaping. Left out on purpose: scripts, and numbers that stand in no file of the run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from env_synth.printable import printable
from evo_jax.report.charts import Curve, bar, dumbbell, line_chart, sparkline
from evo_jax.report.findings import TRIED, duration, funnels, held_out, phase_times, series, wall_time_s
from evo_jax.report.life import LifeLine, level_changes, life, measured
from evo_jax.report.lineage import draw_lineage, lineage
from evo_jax.report.novelty_map import novelty_maps
from evo_jax.report.records import ReportEnvironment, ReportEnvironments, ReportRefusal
from evo_jax.report.rounds import RoundCount, added_up, admission_rounds, quality_curves, sentinel_curves, share_curves
from evo_jax.report.run_files import Line, RunFiles, read_run_files
from evo_jax.report.summary import model_name, sentences

REPORT_FILE = "report.html"
MAX_ENVIRONMENTS = 120
MAX_REASONS_PER_STAGE = 4
MAX_PROPOSALS = 4
ORIGIN_ORDER = ("seed", "composite", "proposal", "file")
STAGE_TITLES: Mapping[str, str] = {
    "S0": "source rules",
    "N1": "not a copy",
    "S1": "runs within its limits",
    "S2": "deterministic",
    "S3": "diverse",
    "S4": "scorer is right",
    "S5": "no cheap attack",
    "S6": "difficulty rises",
    "S7": "harder to solve than to check",
    "S8": "semantic review",
    "S9": "calibrated difficulty",
    "N2": "novel",
}
# title, unit, range is 0..1, curves as (metric, label, measured rarely)
CHARTS: tuple[tuple[str, str, bool, tuple[tuple[str, str, bool], ...]], ...] = (
    ("Solve rate", "fraction", True, (("solve_rate", "training", False), ("eval/solve_rate", "held out", True))),
    ("Reward", "reward", False, (("reward", "solver", False), ("proposer/reward", "proposer", False))),
    ("Entropy", "nats per token", False, (("entropy", "solver", False), ("proposer/entropy", "proposer", False))),
    (
        "Completion length",
        "tokens",
        False,
        (("completions/mean_length", "solver", False), ("proposer/completions/mean_length", "proposer", False)),
    ),
    (
        "Groups and replies without a signal",
        "fraction",
        True,
        (
            ("frac_reward_zero_std", "equal rewards", False),
            ("completions/clipped_ratio", "cut at the limit", False),
            ("frac_invalid", "invalid", False),
        ),
    ),
    (
        "Log-prob difference, engine to learner",
        "nats",
        False,
        (("sampling/logprob_difference/mean", "mean", False),),
    ),
    ("Gradient norm", "norm", False, (("grad_norm", "before clipping", False),)),
    (
        "Step time",
        "s",
        False,
        (("time/step", "whole step", False), ("time/rollouts", "rollouts", False), ("time/update", "update", False)),
    ),
    (
        "Throughput",
        "tokens per s",
        False,
        (("perf/rollout_tokens_per_s", "rollouts", False), ("perf/update_tokens_per_s", "update", False)),
    ),
)


@dataclass(frozen=True)
class Chart:
    """A drawn chart with its legend."""

    title: str
    curves: tuple[Curve, ...]
    drawing: Markup


@dataclass(frozen=True)
class EnvironmentItem:
    """One environment as the page lists it; `children` came from it. `measured`: what admission measured, in words."""

    record: ReportEnvironment
    parents: tuple[str, ...]
    children: tuple[str, ...]
    drawing: Markup
    last: str
    replies: tuple[Line, ...]
    measured: tuple[tuple[str, str], ...]
    life: tuple[LifeLine, ...]


@dataclass(frozen=True)
class Rounds:
    """Admission by round: charts, and for each kind of candidate the rows of its table."""

    charts: tuple[Chart, ...]
    tables: tuple[tuple[str, list[RoundCount]], ...]

    @property
    def are_added_up(self) -> bool:
        """True where a row is more than one round."""
        return any(row.first_step != row.last_step for _, rows in self.tables for row in rows)


@dataclass(frozen=True)
class RefusalGroup:
    """The refusals of one stage: all counted, one example of each of the first few reasons."""

    stage: str
    count: int
    reasons: tuple[str, ...]
    examples: tuple[ReportRefusal, ...]


def write_report(run_dir: Path, registry_view: ReportEnvironments) -> Path:
    """Writes report.html to `run_dir` from the files there and returns its path; missing files leave sections out.

    Raises:
        OSError: the page cannot be written.
    """
    path = Path(run_dir) / REPORT_FILE
    temporary = path.with_suffix(".partial")
    temporary.write_text(render(read_run_files(Path(run_dir)), registry_view), encoding="utf-8")
    temporary.replace(path)
    return path


def render(run: RunFiles, registry_view: ReportEnvironments) -> str:
    """The page's HTML."""
    here = Path(__file__).parent
    style = (here / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    engine = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    engine.filters |= {"shown": printable_text, "as_json": as_json, "one_line": lambda text: " ".join(text.split())}
    environments = environment_items(run, registry_view)
    family = lineage(registry_view)
    context = {
        "policy": f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        "style": Markup(style),
        "run": run,
        "model": model_name(run.config),
        "facts": facts(run),
        "story": sentences(run, registry_view),
        "outcome": held_out(run.evaluations),
        "charts": charts(run),
        "funnels": funnels(run.metrics, registry_view.late_counts, registry_view.stage_order),
        "rounds": rounds(run, registry_view),
        "refusals": refusal_groups(registry_view),
        "proposals": proposal_samples(run.samples),
        "environments": environments[:MAX_ENVIRONMENTS],
        "hidden_environments": max(0, len(environments) - MAX_ENVIRONMENTS),
        "lineage": family,
        "lineage_drawing": draw_lineage(family, {item.record.environment_id for item in environments[:MAX_ENVIRONMENTS]}),
        "novelty": novelty_maps(registry_view),
        "phases": phase_times(run.timings),
        "wall_s": max(wall_time_s(run.timings), 1e-9),
        "files": files(run),
    }
    context["sections"] = [
        (anchor, label)
        for anchor, label, present in (
            ("curves", "Curves", context["charts"]),
            ("admission", "Admission", context["funnels"] or context["refusals"] or context["proposals"]),
            ("lineage", "Lineage", family.nodes),
            ("environments", "Environments", environments),
            ("time", "Time", context["phases"]),
            ("files", "Files and settings", True),
        )
        if present
    ]
    functions = {"dumbbell": dumbbell, "bar": bar, "stage_title": stage_title, "verdict": verdict, "duration": duration}
    return engine.from_string((here / "page.html").read_text(encoding="utf-8")).render(**context, **functions)


# ---- the parts ---------------------------------------------------------------------------------------------------------


def facts(run: RunFiles) -> list[str]:
    """Name, length, seed, commit and machine, as far as they are known."""
    steps = max((line["step"] for line in run.metrics), default=0)
    found = [run.name, f"{steps} steps" if steps != 1 else "1 step"]
    total_s = wall_time_s(run.timings)
    if total_s:
        found.append(duration(total_s))
    if "seed" in run.config:
        found.append(f"seed {run.config['seed']}")
    provenance = run.provenance
    if provenance.get("commit"):
        found.append(f"commit {provenance['commit']}")
    for key in ("device", "machine"):
        value = provenance.get(key)
        if isinstance(value, Mapping):
            found += [f"{value[name]} {name}" if name == "cores" else str(value[name]) for name in value]
        elif value:
            found.append(str(value))
    return [printable(fact, 100) for fact in found]


def charts(run: RunFiles) -> list[Chart]:
    """The charts that have at least one point, in the order a person asks for them."""
    made = []
    for title, unit, fraction, wanted in CHARTS:
        curves = []
        for mark, (name, label, rare) in enumerate(wanted, start=1):
            lines = run.timings if name.startswith(("time/", "perf/")) else run.metrics
            points = series(lines, name)
            if points:
                curves.append(Curve(label, points, mark, dots_only=rare))
        if curves:
            made.append(Chart(title, tuple(curves), line_chart(title, unit, curves, fraction=fraction)))
    return made


def environment_items(run: RunFiles, registry_view: ReportEnvironments) -> list[EnvironmentItem]:
    """Seeds first, then composites, then what the policy wrote; by name within."""
    names = {record.environment_id: record.name for record in registry_view.environments}
    children: dict[str, list[str]] = {}
    for record in registry_view.environments:
        for parent in dict.fromkeys(record.parents):
            children.setdefault(parent, []).append(record.name)

    def place(record: ReportEnvironment) -> tuple[int, str]:
        known = record.origin in ORIGIN_ORDER
        return ORIGIN_ORDER.index(record.origin) if known else len(ORIGIN_ORDER), record.name

    items = []
    for record in sorted(registry_view.environments, key=place):
        points = series(run.metrics, f"solve_rate/{record.metric_label}")
        items.append(
            EnvironmentItem(
                record=record,
                parents=tuple(names.get(parent, parent[:12]) for parent in record.parents),
                children=tuple(children.get(record.environment_id, ())),
                drawing=sparkline(points, level_changes(record)),
                last=f"{points[-1][1]:.2f}" if points else "–",
                replies=example_replies(run.samples, record.environment_id),
                measured=tuple(measured(record, names)),
                life=life(record),
            )
        )
    return items


def rounds(run: RunFiles, registry_view: ReportEnvironments) -> Rounds:
    """Admission by round, neighbouring rounds added up in long runs; empty where nothing was asked for."""
    order = registry_view.stage_order
    found = admission_rounds(run.metrics, registry_view.late_counts, order)
    tables = tuple((kind, added_up([row for row in found if row.kind == kind], order)) for kind in TRIED)
    shown = [row for _, rows in tables for row in rows]
    wanted = (
        ("Share of what was asked for", share_curves(shown, registry_view.model_stages)),
        ("Admitted proposals, as measured", quality_curves(run.metrics, "proposals")),
        ("Admitted composites, as measured", quality_curves(run.metrics, "composites")),
        ("Review of sources whose label is known", sentinel_curves(run.metrics)),
    )
    drawn = [
        Chart(title, tuple(curves), line_chart(title, "fraction", curves, fraction=True)) for title, curves in wanted if curves
    ]
    return Rounds(tuple(drawn), tuple((kind, rows) for kind, rows in tables if rows))


def example_replies(samples: Sequence[Line], environment_id: str) -> tuple[Line, ...]:
    """The latest solver reply of each verdict, right ones first."""
    latest = {
        verdict(sample): sample
        for sample in samples
        if sample.get("environment_id") == environment_id and sample.get("role") == "solver"
    }
    return tuple(latest[name] for name in ("right", "wrong", "invalid") if name in latest)


def proposal_samples(samples: Sequence[Line]) -> list[Line]:
    """What the policy wrote as proposer: the best rewarded, later ones first among equals."""
    written = [sample for sample in samples if sample.get("role") == "proposer"]
    return sorted(written, key=lambda sample: (-float(sample["reward"]), -sample["step"]))[:MAX_PROPOSALS]


def refusal_groups(registry_view: ReportEnvironments) -> list[RefusalGroup]:
    """Refusals by stage, in the order the stages run; stages that are not in it come last."""
    order = registry_view.stage_order
    by_stage: dict[str, list[ReportRefusal]] = {}
    for refusal in registry_view.refusals:
        by_stage.setdefault(refusal.stage, []).append(refusal)
    groups = []
    for stage in sorted(by_stage, key=lambda stage: (order.index(stage) if stage in order else len(order), stage)):
        first: dict[str, ReportRefusal] = {}
        for refusal in by_stage[stage]:
            first.setdefault(refusal.reason, refusal)
        examples = tuple(first.values())[:MAX_REASONS_PER_STAGE]
        groups.append(RefusalGroup(stage, len(by_stage[stage]), tuple(first), examples))
    return groups


def files(run: RunFiles) -> list[tuple[str, str]]:
    """Where things are, relative to the run directory."""
    found = [("run directory", str(run.config.get("run_dir", run.name)))]
    found += [("checkpoint", path) for path in run.checkpoints]
    found += [("export", path) for path in run.exports]
    return [*found, ("metrics", "metrics.jsonl, timings.jsonl, tensorboard/"), ("registry", "registry/")]


# ---- words -------------------------------------------------------------------------------------------------------------


def verdict(sample: Line) -> str:
    """ "right", "wrong" or "invalid"."""
    if not sample.get("valid", True):
        return "invalid"
    return "right" if float(sample["reward"]) >= 1.0 else "wrong"


def stage_title(stage: str) -> str:
    """A stage's name with what it asks for."""
    title = STAGE_TITLES.get(stage)
    return f"{stage} {title}" if title else printable(stage, 60).replace("_", " ")


def printable_text(value: object, limit: int) -> str:
    """`printable` of anything, for the template."""
    return printable(str(value), limit)


def as_json(value: Any) -> str:
    """Indented JSON; what is not JSON is shown by its repr."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, default=repr)
