"""A sweep of real runs: the smallest ring twice, stopped by nothing, then asked for once more."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.evo_jax.conftest import tiny_policy_path  # noqa: F401
from tests.launch_tpu.conftest import ROOT


@pytest.mark.slow
def test_two_real_runs_of_the_smallest_ring(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    policy = request.getfixturevalue("tiny_policy_path")
    command = [sys.executable, "-m", "launch_tpu.sweep", "--config=tests/tiny_ring.py", f"--root={tmp_path}"]
    told = [f"--set=policy.path={policy}", "--set=seed=0,1", "--set=steps=2", "--metrics=reward,eval/solve_rate"]
    answer = subprocess.run([*command, *told], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    rows = [line.split() for line in answer.stdout.splitlines()[-2:]]
    assert [row[1:3] for row in rows] == [["finished", "2"]] * 2
    assert all(0 <= float(row[3]) <= 1 for row in rows)
    again = subprocess.run([*command, *told], cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.stdout.count("finished already") == 2
    assert again.stdout.splitlines()[-2:] == answer.stdout.splitlines()[-2:]
