"""Tests of evo_jax/train.py."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def train(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "evo_jax.train", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--config=FILE is needed"),
        (("--config=configs/absent.py",), "there is no file configs/absent.py"),
        (("--config=configs/quickstart.py", "--config.rolout.slots=3"), "the nearest is 'rollout.slots'"),
        (("--config=configs/quickstart.py", "--config.rollout.slots=many"), "--config.rollout.slots=many"),
        (("--config=configs/quickstart.py", "--config.rollout.slots=0"), "rollout.slots=0 is too small"),
        (("--config=configs/quickstart.py", "--config.rollout.stop=a,b"), "write a tuple as"),
        (("--config=configs/quickstart.py", "--confg.steps=3"), "confg"),
        (("--config=configs/quickstart.py", "extra"), "unexpected argument 'extra'"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_clear_line(arguments: tuple[str, ...], message: str) -> None:
    done = train(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_a_missing_model_and_a_run_directory_in_use_are_clear(tmp_path: Path) -> None:
    done = train("--config=configs/quickstart.py", f"--config.run_dir={tmp_path}/run", "--config.policy.path=absent.gguf")
    assert done.returncode == 2
    assert "absent.gguf" in done.stderr
    assert not (tmp_path / "run").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    done = train("--config=configs/quickstart.py", f"--config.run_dir={tmp_path}/full")
    assert done.returncode == 2
    assert "never reused" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_resume_auto_starts_where_there_is_no_run_and_goes_on_where_there_is_one(
    tiny_policy_path: Path, tmp_path: Path
) -> None:
    settings = ["--config=tests/tiny_ring.py", f"--config.policy.path={tiny_policy_path}", "--config.evolve.enabled=False"]
    command = [sys.executable, "-m", "evo_jax.train", *settings, f"--config.run_dir={tmp_path / 'run'}", "--resume=auto"]
    for steps in (1, 2):
        done = subprocess.run(
            [*command, f"--config.steps={steps}"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        written = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        assert len(written) == steps + 1
    assert subprocess.run([*command[:-1], "--resume=perhaps"], cwd=ROOT, capture_output=True, check=False).returncode == 2
