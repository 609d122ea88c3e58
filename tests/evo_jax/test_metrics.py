"""Tests of evo_jax/metrics.py."""

import json
import math
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo_jax import metrics
from evo_jax.metrics import Kind, MetricError, MetricsWriter, StepLog, metric_label, metric_named, reduce_metrics

# ---- the table ---------------------------------------------------------------------------------------------------------


def test_names_that_users_know_are_kept() -> None:
    for name in (
        "reward", "reward_std", "frac_reward_zero_std", "completions/mean_length", "completions/clipped_ratio",
        "clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean", "kl", "entropy",
        "sampling/logprob_difference/mean", "time/step", "time/wait_for_admission", "perf/rollout_tokens_per_s",
    ):  # fmt: skip
        assert metric_named(name).name == name


def test_every_name_stands_once_and_times_are_no_deterministic_metrics() -> None:
    names = [row.name for row in metrics.METRICS]
    assert len(names) == len(set(names))
    for row in metrics.METRICS:
        assert (row.kind is Kind.TIMING) == row.name.startswith(("time/", "perf/", "memory/", "scoring/"))
        assert row.meaning.endswith(".")
        assert row.unit


def test_the_updates_own_metrics_are_all_in_the_table() -> None:
    from evo_jax.objective import TOKEN_METRICS

    for name in TOKEN_METRICS:
        assert metric_named(name).per_role
        assert metric_named(f"proposer/{name}").name == name


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("rewrad", "reward"),
        ("time/rolouts", "time/rollouts"),
        ("proposer/solve_rate", "solve_rate"),
        ("proposer/rewrd", "proposer/reward"),
        ("solve_rate/with space", "solve_rate/*"),
        ("solve_rate/", "solve_rate/*"),
        ("solver/reward", "proposer/reward"),
        ("proposer/grad_norm", "grad_norm"),
    ],
)
def test_an_unknown_name_is_an_error_that_names_the_nearest(wrong: str, nearest: str) -> None:
    with pytest.raises(MetricError, match=re.escape(f"{wrong!r} is not in the table")) as caught:
        metric_named(wrong)
    assert repr(nearest) in str(caught.value)


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=200))
def test_a_label_of_any_text_fits_a_family(text: str) -> None:
    assert metric_named(f"solve_rate/{metric_label(text)}").name == "solve_rate/*"


# ---- reduction, worked by hand -----------------------------------------------------------------------------------------


def test_reductions_by_hand() -> None:
    parts = [
        {
            "loss": (1.0, 4.0),
            "entropy": 0.5,
            "sampling/logprob_difference/max": 0.25,
            "proposals/asked": 3,
            "learning_rate": 2.0,
        },
        {
            "loss": (5.0, 2.0),
            "entropy": 1.5,
            "sampling/logprob_difference/max": 0.125,
            "proposals/asked": 1,
            "learning_rate": 1.0,
        },
    ]
    assert reduce_metrics(parts) == {
        "entropy": 1.0,  # (0.5 + 1.5) / 2
        "learning_rate": 1.0,  # the last
        "loss": 1.0,  # (1 + 5) / (4 + 2)
        "proposals/asked": 4.0,  # 3 + 1
        "sampling/logprob_difference/max": 0.25,
    }


def test_a_mean_over_nothing_has_no_value() -> None:
    assert reduce_metrics([{"kl": (0.0, 0.0), "reward": (0.0, 2.0)}]) == {"reward": 0.0}


def test_a_broken_number_is_never_hidden_by_a_reduction() -> None:
    reduced = reduce_metrics(
        [{"loss": math.nan, "sampling/logprob_difference/max": math.nan}, {"sampling/logprob_difference/max": 1.0}]
    )
    assert math.isnan(reduced["loss"])
    assert math.isnan(reduced["sampling/logprob_difference/max"])
    assert math.isnan(reduce_metrics([{"loss": math.inf}, {"loss": -math.inf}])["loss"])


def test_wrong_values_are_refused() -> None:
    with pytest.raises(MetricError, match="is no mean"):
        reduce_metrics([{"proposals/asked": (1.0, 2.0)}])
    with pytest.raises(MetricError, match="count"):
        reduce_metrics([{"loss": (1.0, -1.0)}])


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(1, 1000)), min_size=1, max_size=20), st.randoms())
def test_a_mean_does_not_depend_on_the_order_of_micro_batches(pairs: list[tuple[float, int]], rng: object) -> None:
    shuffled = list(pairs)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert reduce_metrics([{"loss": pair} for pair in pairs]) == reduce_metrics([{"loss": pair} for pair in shuffled])


# ---- the files ---------------------------------------------------------------------------------------------------------


def test_equal_values_are_equal_bytes_and_times_are_kept_apart(tmp_path: Path) -> None:
    for name, extra in (("a", {"time/step": 1.0}), ("b", {"time/step": 2.0})):
        (tmp_path / name).mkdir()
        with MetricsWriter(tmp_path / name, resume_step=None, tensorboard=False) as writer:
            writer.write(1, {"reward": (1, 3), "loss": 0.1, **extra})
    assert (tmp_path / "a/metrics.jsonl").read_bytes() == (tmp_path / "b/metrics.jsonl").read_bytes()
    assert (tmp_path / "a/metrics.jsonl").read_text() == '{"loss":0.1,"reward":0.3333333333333333,"step":1}\n'
    assert (tmp_path / "b/timings.jsonl").read_text() == '{"step":1,"time/step":2.0}\n'


def test_timings_may_follow_their_metrics_but_a_line_is_written_once(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path, resume_step=None, tensorboard=False) as writer:
        writer.write(1, {"reward": 1.0})
        writer.write(1, {"time/checkpoint": 2.0})
        with pytest.raises(MetricError, match="has step 1 already"):
            writer.write(1, {"reward": 1.0})
        with pytest.raises(MetricError, match="lies before"):
            writer.write(0, {"reward": 1.0})


def test_a_value_that_is_not_finite_is_refused_by_name(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path, resume_step=None, tensorboard=False) as writer:
        with pytest.raises(MetricError, match="step 3: loss is not finite"):
            writer.write(3, {"loss": math.nan, "reward": 1.0})
        writer.write(3, {"reward": 1.0})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"reward":1.0,"step":3}\n'


def test_a_new_run_never_writes_into_an_old_file(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(MetricError, match="exists already"):
        MetricsWriter(tmp_path, resume_step=None, tensorboard=False)


@settings(deadline=None)
@given(
    steps=st.lists(st.integers(0, 30), max_size=12).map(sorted),
    resume_step=st.integers(-1, 31),
    torn=st.sampled_from(["", '{"step"', '{"step":99}', "\x00\x00", "\n", "not json\n"]),
)
def test_a_resume_keeps_exactly_the_lines_up_to_its_step(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], resume_step: int, torn: str
) -> None:
    path = tmp_path_factory.mktemp("cut") / "log.jsonl"
    lines = [f'{{"place":{place},"step":{step}}}\n' for place, step in enumerate(steps)]
    path.write_text("".join(lines) + torn)
    log = StepLog(path, resume_step=resume_step)
    kept = [line for step, line in zip(steps, lines, strict=True) if step <= resume_step]
    assert path.read_text() == "".join(kept)
    log.append({"step": max(resume_step, 0), "b": 1, "a": 0.1})
    log.close()
    assert path.read_text() == "".join(kept) + f'{{"a":0.1,"b":1,"step":{max(resume_step, 0)}}}\n'


def test_damage_before_the_last_line_is_said_not_cut_away(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step":1}\ngarbage\n{"step":3}\n')
    with pytest.raises(MetricError, match="line 2 is damaged"):
        StepLog(path, resume_step=3)
    assert "garbage" in path.read_text()


def test_a_resumed_file_equals_that_of_a_run_that_was_never_stopped(tmp_path: Path) -> None:
    def values(step: int) -> dict[str, float]:
        return {"reward": step / 7, "loss": 1 / (step + 3)}

    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    with MetricsWriter(tmp_path / "whole", resume_step=None, tensorboard=False) as writer:
        for step in range(1, 9):
            writer.write(step, values(step))
    with MetricsWriter(tmp_path / "killed", resume_step=None, tensorboard=False) as writer:
        for step in range(1, 7):
            writer.write(step, values(step))
    with (tmp_path / "killed/metrics.jsonl").open("a") as file:
        file.write('{"loss":0.1,"rew')
    with MetricsWriter(tmp_path / "killed", resume_step=4, tensorboard=False) as writer:
        for step in range(5, 9):
            writer.write(step, values(step))
    assert (tmp_path / "whole/metrics.jsonl").read_bytes() == (tmp_path / "killed/metrics.jsonl").read_bytes()


FULL_DISK = """
import resource, sys
from pathlib import Path
from evo_jax.metrics import MetricError, StepLog
log = StepLog(Path(sys.argv[1]), resume_step=None)
log.append({"step": 1, "reward": 0.5})
resource.setrlimit(resource.RLIMIT_FSIZE, (40, 40))
try:
    for step in range(2, 9):
        log.append({"step": step, "reward": 0.5})
except MetricError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs a limit on file sizes to stand for a full disk")
def test_a_disk_that_fills_up_is_said_and_loses_no_earlier_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True)
    assert "cannot write step 2" in done.stdout
    assert "every earlier line is kept" in done.stdout
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"reward": 0.5, "step": 1}]


def test_tensorboard_files_hold_the_names_and_forget_what_a_resume_repeats(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path, resume_step=None, tensorboard=True) as writer:
        writer.write(1, {"reward": 0.5, "time/step": 2.0})
    with MetricsWriter(tmp_path, resume_step=0, tensorboard=True) as writer:
        writer.write(1, {"reward": 0.5})
    data = b"".join(path.read_bytes() for path in (tmp_path / "tensorboard").iterdir())
    assert b"reward" in data
    assert b"time/step" in data
