"""Tests of evo_jax/rollouts/mismatch.py."""

import math
import subprocess
import sys
from pathlib import Path

import pytest

from evo_jax.rollouts.mismatch import stop_on_mismatch
from evo_jax.rollouts.protocol import RolloutError

MEAN, MAX = "sampling/logprob_difference/mean", "sampling/logprob_difference/max"


def test_rounding_is_let_through_and_no_limit_asks_for_nothing() -> None:
    stop_on_mismatch({MEAN: (2.0, 100.0), MAX: 0.4, "loss": (1.0, 1.0)}, 0.05, "sglang")
    stop_on_mismatch({MEAN: (900.0, 100.0), MAX: 40.0}, 0.0, "sglang")
    stop_on_mismatch({MEAN: (0.0, 0.0)}, 0.05, "embedded")  # an update without a token


@pytest.mark.parametrize("engine", ["embedded", "sglang"])
def test_a_mismatch_stops_with_its_size_and_likely_causes(engine: str) -> None:
    with pytest.raises(RolloutError, match=r"0\.09 nats \(largest 1\.5\).*Likely.*dtype"):
        stop_on_mismatch({MEAN: (9.0, 100.0), MAX: 1.5}, 0.05, engine)


def test_a_round_of_progress_on_proposals_is_no_mismatch() -> None:
    stop_on_mismatch({MEAN: (0.0, 9.0), f"proposer/{MEAN}": (9.0, 9.0)}, 0.05, "sglang")


def test_nan_is_a_mismatch() -> None:
    with pytest.raises(RolloutError, match="nan"):
        stop_on_mismatch({MEAN: (math.nan, 9.0)}, 0.05, "sglang")


@pytest.mark.slow
def test_a_run_stops_before_it_trains_further_on_noise(tiny_policy_path: Path, tmp_path: Path) -> None:
    """No engine agrees to the last bit with the learner's own forward pass: a limit below rounding stops it at once."""
    settings = {"run_dir": tmp_path / "run", "policy.path": tiny_policy_path, "rollout.max_logprob_difference": 1e-12}
    arguments = [f"--config.{name}={value}" for name, value in settings.items()]
    done = subprocess.run(
        [sys.executable, "-m", "evo_jax.train", "--config=tests/tiny_ring.py", *arguments],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert "rollout.max_logprob_difference" in done.stderr
    assert "Traceback" not in done.stderr
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1
