"""The one table of metric names, with units, reductions and meanings; how values are reduced; and the files they go to.

`metrics.jsonl` holds what two equal runs must have equal, byte for byte; times, rates and memory go to `timings.jsonl`.
docs/metrics.md is made from METRICS and checked by a test. Left out on purpose: computing any metric (the stages return
(sum, count) pairs), aggregation over hosts (the trainer gathers the pairs and hands them all to `reduce_metrics`), loggers
that need an account, and reading the files back (the report does that).
"""

from __future__ import annotations

import contextlib
import difflib
import json
import math
import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self, SupportsFloat

from tensorboardX import SummaryWriter

METRICS_FILE = "metrics.jsonl"
TIMINGS_FILE = "timings.jsonl"
TENSORBOARD_DIRECTORY = "tensorboard"
PROPOSER_PREFIX = "proposer/"

type MetricValue = SupportsFloat | tuple[SupportsFloat, SupportsFloat]


class MetricError(Exception):
    """A metric name or value that the table does not allow, or a metrics file that cannot be written or cut back."""


class Reduction(StrEnum):
    """How the values of one name become one number."""

    MEAN = "mean"  # sum of sums / sum of counts; a plain number counts once
    SUM = "sum"
    MAX = "max"
    LAST = "last"


class Kind(StrEnum):
    """Whether equal runs have equal values, which decides the file."""

    DETERMINISTIC = "deterministic"
    TIMING = "timing"


@dataclass(frozen=True)
class Metric:
    """One row of the table. A name that ends in "/*" is a family: the star stands for a label (see `metric_label`)."""

    name: str
    unit: str
    reduction: Reduction
    meaning: str
    kind: Kind = Kind.DETERMINISTIC
    per_role: bool = False  # also exists as proposer/<name>; without prefix it is the solver's


def _row(name: str, unit: str, reduction: str, meaning: str, *, per_role: bool = False) -> Metric:
    timing = name.startswith(("time/", "perf/", "memory/", "scoring/"))
    return Metric(name, unit, Reduction(reduction), meaning, Kind.TIMING if timing else Kind.DETERMINISTIC, per_role)


METRICS: tuple[Metric, ...] = (
    # ---- rewards, before any group is filtered -------------------------------------------------------------------------
    _row("reward", "reward", "mean", "Mean reward of valid rollouts.", per_role=True),
    _row("reward_std", "reward", "mean", "Standard deviation of rewards within a group, mean over groups.", per_role=True),
    _row("frac_reward_zero_std", "fraction", "mean", "Groups whose valid rewards are all equal.", per_role=True),
    _row("solve_rate", "fraction", "mean", "Valid solver rollouts that verify accepted."),
    _row("solve_rate/*", "fraction", "mean", "The same for one environment."),
    _row("frac_invalid", "fraction", "mean", "Rollouts masked out because environment or host failed.", per_role=True),
    _row("backfilled_prompts", "prompts", "sum", "Extra prompts drawn to replace zero-variance groups."),
    # ---- completions ---------------------------------------------------------------------------------------------------
    _row("completions/mean_length", "tokens", "mean", "Length of a completion, its end token included.", per_role=True),
    _row("completions/clipped_ratio", "fraction", "mean", "Completions cut at the token limit.", per_role=True),
    # ---- the update ----------------------------------------------------------------------------------------------------
    _row("loss", "objective", "mean", "Solver mean + objective.proposer_loss_scale * proposer mean."),
    _row("objective", "objective", "mean", "One role's mean of the clipped objective, as it enters the loss.", per_role=True),
    _row("clip_ratio/low_mean", "fraction", "mean", "Trained tokens clipped from below.", per_role=True),
    _row("clip_ratio/high_mean", "fraction", "mean", "Trained tokens clipped from above.", per_role=True),
    _row("clip_ratio/region_mean", "fraction", "mean", "Trained tokens clipped on either side.", per_role=True),
    _row("clip_ratio/dual_mean", "fraction", "mean", "Trained tokens bounded by the dual clip.", per_role=True),
    _row("kl", "nats/token", "mean", "KL to the reference policy by objective.kl_estimator.", per_role=True),
    _row("entropy", "nats/token", "mean", "Entropy of the policy at trained tokens.", per_role=True),
    _row(
        "sampling/logprob_difference/mean",
        "nats",
        "mean",
        "|proximal - rollout log-prob| of trained tokens: the mismatch of engine and learner.",
        per_role=True,
    ),
    _row("sampling/logprob_difference/max", "nats", "max", "Largest of those differences.", per_role=True),
    _row("importance_ratio_mean", "ratio", "mean", "exp(policy - proximal log-prob) of trained tokens.", per_role=True),
    _row("rollout_correction_mean", "ratio", "mean", "Capped exp(proximal - rollout log-prob).", per_role=True),
    _row("rollout_correction_capped", "fraction", "mean", "Trained tokens at the cap of that correction.", per_role=True),
    _row("grad_norm", "norm", "mean", "Global norm of the gradient before clipping, mean over updates."),
    _row("learning_rate", "1", "last", "Learning rate of the step's last update."),
    _row("trained_tokens", "tokens", "sum", "Completion tokens that carry loss.", per_role=True),
    _row(
        "staleness_steps",
        "steps",
        "mean",
        "Updates between the oldest weights that a solver rollout was sampled with and the step.",
    ),
    _row("staleness_steps/max", "steps", "max", "The largest of them, where rollouts are sampled ahead."),
    _row(
        "rollouts/spanning_fraction",
        "fraction",
        "mean",
        "Solver rollouts of several versions, where sampled ahead.",
    ),
    _row(
        "rollouts/resumed_fraction",
        "fraction",
        "mean",
        "Solver rollouts stopped and gone on with, where sampled ahead.",
    ),
    _row("policy_version", "1", "last", "Number of updates behind the weights after this step."),
    # ---- environments and admission ------------------------------------------------------------------------------------
    _row("snapshot", "1", "last", "Number of the registry snapshot this step's prompts came from."),
    _row("environments/active", "environments", "last", "Environments that prompts are drawn from."),
    _row("environments/seeds", "environments", "last", "Active environments that are seeds."),
    _row("environments/composites", "environments", "last", "Active environments composed without a model."),
    _row("environments/proposals", "environments", "last", "Active environments that the policy wrote."),
    _row("environments/retired", "environments", "last", "Environments rotated out or mastered so far."),
    _row("environments/quarantined", "environments", "last", "Environments set aside for failures so far."),
    _row("proposals/asked", "proposals", "sum", "Proposals the policy was asked for."),
    _row("sandbox/tier", "1", "last", "How strongly environments are contained: 1 strongest, 3 not at all (docs/sandbox.md)."),
    _row("sandbox/unsafe", "1", "last", "1 where untrusted environments ran uncontained because the config said so."),
    _row("proposals/admitted", "proposals", "sum", "Proposals admitted to the registry."),
    _row("proposals/refused/*", "proposals", "sum", "Proposals refused, by the stage that refused them."),
    _row("proposals/undecided", "proposals", "sum", "Proposals that a fault of the machine kept from a verdict, twice."),
    _row("composites/undecided", "environments", "sum", "Composites that a fault of the machine kept from a verdict, twice."),
    _row("proposals/noted/*", "proposals", "sum", "Proposals that a stage would have refused, had it not only noted so."),
    _row("composites/noted/*", "environments", "sum", "The same of composites."),
    _row("proposals/solve_rate", "fraction", "mean", "Calibrated solve rate of admitted proposals."),
    _row(
        "proposals/mixed_fraction", "fraction", "mean", "Calibration groups with right and wrong replies, admitted proposals."
    ),
    _row("proposals/novelty", "fraction", "mean", "Novelty of admitted proposals, as N2 measures it."),
    _row("proposals/level", "level", "mean", "Calibrated level of admitted proposals."),
    _row("composites/solve_rate", "fraction", "mean", "Calibrated solve rate of admitted composites."),
    _row("composites/mixed_fraction", "fraction", "mean", "Calibration groups with right and wrong replies, composites."),
    _row("composites/novelty", "fraction", "mean", "Novelty of admitted composites."),
    _row("composites/level", "level", "mean", "Calibrated level of admitted composites."),
    _row("composites/parents", "environments", "last", "Horizon: environments that a composite is made of now."),
    _row("model_stages/sampled_tokens", "tokens", "sum", "Tokens that S8 and S9 had the policy sample."),
    _row("model_stages/unanswered_prompts", "prompts", "sum", "Their prompts that were too long for the run's engine."),
    _row("review/recall", "fraction", "mean", "Labelled broken sources that S8 refuses."),
    _row("review/false_refusals", "fraction", "mean", "Labelled sound sources that S8 refuses."),
    _row("review/alarm", "1", "last", "1 where that recall has dropped significantly since S8 was first asked."),
    _row("composites/tried", "environments", "sum", "Composites offered for admission."),
    _row("composites/admitted", "environments", "sum", "Composites admitted to the registry."),
    _row("composites/refused/*", "environments", "sum", "Composites refused, by the stage that refused them."),
    # ---- evaluation on held-out instances ------------------------------------------------------------------------------
    _row("eval/solve_rate", "fraction", "mean", "Held-out rollouts solved, mean over rollouts."),
    _row("eval/solve_rate/*", "fraction", "mean", "The same for one environment."),
    # ---- times, rates and memory: timings.jsonl ------------------------------------------------------------------------
    _row("time/step", "s", "sum", "Wall time of the whole step."),
    _row("time/rollouts", "s", "sum", "Sampling completions in the loop."),
    _row("time/rollouts_beside", "s", "sum", "Sampling completions beside the loop, which goes on meanwhile."),
    _row("time/wait_for_rollouts", "s", "sum", "The loop standing still for rollouts that are sampled beside it."),
    _row("time/pause_rollouts", "s", "sum", "Stopping what is sampled beside the loop, for new weights or other prompts."),
    _row("time/scoring", "s", "sum", "Scoring completions in the sandbox."),
    _row("time/update", "s", "sum", "Packing, gradients and optimizer."),
    _row("time/weight_sync", "s", "sum", "Handing the new weights to the rollout engine."),
    _row("time/proposals", "s", "sum", "Sampling proposals."),
    _row("time/wait_for_admission", "s", "sum", "The ring standing still until admission was done."),
    _row("time/model_stages", "s", "sum", "Stages of admission that need a model: sampling and grading."),
    _row("time/snapshot", "s", "sum", "Making the next registry snapshot."),
    _row("time/checkpoint", "s", "sum", "The loop standing still for a save."),
    _row("time/evaluation", "s", "sum", "Evaluating on held-out instances."),
    _row(
        "perf/rollout_tokens_per_s",
        "tokens/s",
        "mean",
        "The step's completion tokens per second of time/rollouts (_beside).",
    ),
    _row("perf/update_tokens_per_s", "tokens/s", "mean", "Prompt and completion tokens packed per second of time/update."),
    _row("perf/cpu_share", "fraction", "mean", "CPU time used / (wall time * cores allowed): low means a busy machine."),
    _row("memory/peak_mib", "MiB", "max", "Peak resident memory of the process so far."),
    # ---- the scoring pool, since it was opened: timings.jsonl ----------------------------------------------------------
    _row("scoring/calls_per_s", "1/s", "last", "Answers graded per second with at least one group under way."),
    _row("scoring/queue_wait_s", "s", "last", "Mean time a group waited for a worker."),
    _row("scoring/groups", "groups", "last", "Groups scored."),
    _row("scoring/missing_answer_fraction", "fraction", "last", "Replies in which no answer was found."),
    _row("scoring/retries", "count", "last", "Host faults that were tried again."),
    _row("scoring/replays", "groups", "last", "Groups graded twice, the second time in reverse order."),
    _row("scoring/mismatches", "groups", "last", "Groups whose grades changed when graded again."),
    _row("scoring/live_workers", "processes", "last", "Workers at this moment."),
    _row("scoring/peak_worker_mib", "MiB", "last", "The most memory any worker held."),
    _row("scoring/failures/*", "scores", "last", "Invalid scores, by class of failure."),
)

_EXACT: dict[str, Metric] = {row.name: row for row in METRICS if not row.name.endswith("/*")}
_FAMILIES: dict[str, Metric] = {row.name[:-1]: row for row in METRICS if row.name.endswith("/*")}
_LABEL = re.compile(r"[A-Za-z0-9_.+-]{1,80}")


def metric_label(text: str) -> str:
    """`text` as the last part of a family's name: every run of other characters becomes one "-", at most 80 are kept."""
    return re.sub(r"[^A-Za-z0-9_.+]+", "-", text)[:80].strip("-") or "unnamed"


def metric_named(name: str) -> Metric:
    """The table's row for a concrete `name`, family members and proposer/ names included.

    Raises:
        MetricError: no row allows the name; the message gives the nearest that exists.
    """
    for candidate, need_role in ((name, False), (name.removeprefix(PROPOSER_PREFIX), True)):
        if need_role and candidate == name:
            continue
        row = _EXACT.get(candidate) or _family_of(candidate)
        if row is not None and (row.per_role or not need_role):
            return row
    known = [*_EXACT, *(PROPOSER_PREFIX + row.name for row in METRICS if row.per_role), *(f"{p}*" for p in _FAMILIES)]
    solver_only = name.removeprefix(PROPOSER_PREFIX)
    nearest = solver_only if solver_only in _EXACT else difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
    raise MetricError(f"metric {name!r} is not in the table of evo_jax/metrics.py; the nearest name there is {nearest!r}")


def _family_of(name: str) -> Metric | None:
    prefix, slash, label = name.rpartition("/")
    return _FAMILIES.get(prefix + slash) if _LABEL.fullmatch(label) else None


def reduce_metrics(parts: Iterable[Mapping[str, MetricValue]]) -> dict[str, float]:
    """Brings the values of micro-batches, updates or hosts together: one number a name, sorted by name.

    A value is a plain number or a (sum, count) pair, so that means do not depend on how a batch was cut (DESIGN, decision 8).
    Sums are exactly rounded (math.fsum): the order of `parts` matters for LAST only. A mean whose counts add up to 0 has no
    value and is left out.

    Raises:
        MetricError: an unknown name; a pair for a name that is not a mean; a negative count.
    """
    gathered: dict[str, list[tuple[float, float]]] = {}
    for part in parts:
        for name, value in part.items():
            gathered.setdefault(name, []).append(_pair(name, value))
    reduced: dict[str, float] = {}
    for name in sorted(gathered):
        values = [total for total, _ in gathered[name]]
        match metric_named(name).reduction:
            case Reduction.MEAN:
                count = math.fsum(count for _, count in gathered[name])
                if count > 0:
                    reduced[name] = _sum(values) / count
            case Reduction.SUM:
                reduced[name] = _sum(values)
            case Reduction.MAX:
                reduced[name] = math.nan if any(map(math.isnan, values)) else max(values)
            case Reduction.LAST:
                reduced[name] = values[-1]
    return reduced


def _sum(values: list[float]) -> float:
    """math.fsum, which raises on opposite infinities and on overflow; here both must reach the writer's own error."""
    return math.fsum(values) if all(map(math.isfinite, values)) else sum(values)


def _pair(name: str, value: MetricValue) -> tuple[float, float]:
    if not isinstance(value, tuple):
        return float(value), 1.0
    if metric_named(name).reduction is not Reduction.MEAN:
        raise MetricError(f"metric {name!r} is no mean: give it as a plain number, not as the pair {value!r}")
    total, count = float(value[0]), float(value[1])
    if not count >= 0:
        raise MetricError(f"metric {name!r} has the count {count}; a count is at least 0")
    return total, count


class StepLog:
    """A file of JSON lines that each carry a "step", flushed to the disk line by line, cut back when a run resumes.

    Lines have sorted keys and floats in their shortest exact form, so that equal values are equal bytes. Steps never go
    back; with `lines_per_step` 1 they must rise. A line is on the disk when `append` returns.
    """

    def __init__(self, path: Path, *, resume_step: int | None, lines_per_step: int | None = None) -> None:
        """Opens `path`, new when `resume_step` is None, else keeping exactly the lines with step <= `resume_step`.

        Raises:
            MetricError: the file of a new run exists already, is damaged before its last line, or cannot be written.
        """
        self.path = path
        self._lines_per_step = lines_per_step
        self._last_step = -1
        self._lines_of_last_step = 0
        try:
            if resume_step is None:
                self._file = path.open("xb", buffering=0)
            else:
                self._cut_back(resume_step)
                self._file = path.open("ab", buffering=0)
        except FileExistsError as error:
            raise MetricError(f"{path} exists already: resume that run, or name another run directory") from error
        except OSError as error:
            raise MetricError(f"cannot open {path}: {error.strerror}") from error

    def append(self, line: Mapping[str, Any]) -> None:
        """Writes one record; it must have an integer "step" and hold JSON values with finite numbers only.

        Raises:
            MetricError: a step out of order, a value that is not finite, or a full disk (lines before this one are kept).
        """
        step = line["step"]
        self._check_order(step)
        try:
            data = json.dumps(line, sort_keys=True, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        except ValueError as error:
            bad = [key for key, value in line.items() if isinstance(value, float) and not math.isfinite(value)]
            raise MetricError(
                f"step {step}: {', '.join(bad) or 'a value'} is not finite, so {self.path} keeps no such line"
            ) from error
        start = os.fstat(self._file.fileno()).st_size
        try:
            written = 0
            while written < len(data):
                written += self._file.write(data[written:])
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(start)
            raise MetricError(
                f"cannot write step {step} to {self.path}: {error.strerror}; every earlier line is kept. "
                "Free some space and resume the run from its last checkpoint"
            ) from error
        self._lines_of_last_step = self._lines_of_last_step + 1 if step == self._last_step else 1
        self._last_step = step

    def close(self) -> None:
        """Closes the file; nothing is pending."""
        self._file.close()

    def _check_order(self, step: int) -> None:
        if step < self._last_step:
            raise MetricError(f"{self.path} is at step {self._last_step}: step {step} lies before it")
        if step == self._last_step and self._lines_of_last_step == self._lines_per_step:
            raise MetricError(f"{self.path} has step {step} already: write all of a step's values at once")

    def _cut_back(self, resume_step: int) -> None:
        if not self.path.exists():
            return
        data = self.path.read_bytes()
        kept = bytearray()
        lines = data.split(b"\n")
        for number, line in enumerate(lines, start=1):
            if number == len(lines):
                break  # behind the last newline: empty, or torn when the run was killed
            try:
                step = int(json.loads(line)["step"])
            except (ValueError, TypeError, KeyError) as error:
                if number == len(lines) - 1:
                    break  # the last whole line may be torn too, where a crash of the machine lost a block
                raise MetricError(
                    f"{self.path} line {number} is damaged: restore it, or delete it to go on without it"
                ) from error
            if step <= resume_step:
                kept += line + b"\n"
                self._lines_of_last_step = self._lines_of_last_step + 1 if step == self._last_step else 1
                self._last_step = step
        if kept != data:
            _replace(self.path, bytes(kept))


def _replace(path: Path, data: bytes) -> None:
    """Puts `data` in the place of the file at once: a kill at any moment leaves the old or the new one, never neither."""
    temporary = path.with_name(path.name + ".cut")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class MetricsWriter:
    """Writes reduced metrics of each step to metrics.jsonl, timings.jsonl and, if asked, TensorBoard event files."""

    def __init__(self, run_dir: Path, *, resume_step: int | None, tensorboard: bool) -> None:
        """Opens the files under `run_dir`, which exists; `resume_step` is the checkpoint's step, None for a new run.

        Raises:
            MetricError: see StepLog.
        """
        logs = {Kind.DETERMINISTIC: METRICS_FILE, Kind.TIMING: TIMINGS_FILE}
        self._logs = {
            kind: StepLog(Path(run_dir) / name, resume_step=resume_step, lines_per_step=1) for kind, name in logs.items()
        }
        self._tensorboard: SummaryWriter | None = None
        if tensorboard:
            purge_step = None if resume_step is None else resume_step + 1
            suffix = f".{time.time_ns()}"  # the library's own names are equal within a second, and the later file replaces
            directory = str(Path(run_dir) / TENSORBOARD_DIRECTORY)
            self._tensorboard = SummaryWriter(directory, purge_step=purge_step, filename_suffix=suffix)

    def write(self, step: int, values: Mapping[str, MetricValue]) -> None:
        """Writes the step's values; both files get a line if `values` has something for them, each at most one a step.

        So times that are only known later (a checkpoint's) may come in a second call of the same step. A step's deterministic
        line must be written before the checkpoint of that step: a resume keeps lines up to the checkpoint.

        Raises:
            MetricError: an unknown name, a value that is not finite, a second line of a step, or a disk that is full.
        """
        reduced = reduce_metrics([values])
        for kind, log in self._logs.items():
            line = {name: value for name, value in reduced.items() if metric_named(name).kind is kind}
            if line:
                log.append({"step": int(step), **line})
        if self._tensorboard is not None:
            for name, value in reduced.items():
                self._tensorboard.add_scalar(name, value, global_step=int(step))
            self._tensorboard.flush()

    def close(self) -> None:
        """Closes all files."""
        for log in self._logs.values():
            log.close()
        if self._tensorboard is not None:
            self._tensorboard.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def metrics_table() -> str:
    """METRICS as a Markdown table; docs/metrics.md holds it word for word."""
    rows = ["| name | unit | reduced by | file | proposer too | meaning |", "|---|---|---|---|---|---|"]
    for row in METRICS:
        file = TIMINGS_FILE if row.kind is Kind.TIMING else METRICS_FILE
        role = "yes" if row.per_role else ""
        rows.append(f"| `{row.name}` | {row.unit} | {row.reduction} | {file} | {role} | {row.meaning} |")
    return "\n".join(rows) + "\n"
