"""The entry as a user calls it: dry runs, and mistakes told in a line."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.launch_tpu.conftest import COMPLETE, ROOT


def launch_tpu(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "launch_tpu", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def flags_of(launcher: str) -> list[str]:
    named = {"launcher": launcher, "run_name": "first-run", "config": "configs/qwen3_gpu.py", **COMPLETE[launcher]}
    return [f"--{name}={value}" for name, value in named.items()]


@pytest.mark.parametrize("launcher", ["tpu_vm", "jobset"])
def test_a_dry_run(launcher: str) -> None:
    answer = launch_tpu("create", *flags_of(launcher), "--dry_run", "--set=seed=3", "--set=optimizer.learning_rate=1e-5")
    assert answer.returncode == 0, answer.stderr
    assert "--config.seed=3" in answer.stdout
    assert "launch_tpu/start.sh" in answer.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["destroy"], "say what to do"),
        (["create", "--launcher=slurm", "--bogus=1"], "Unknown command line flag 'bogus'"),
        (["create", *flags_of("slurm"), "--mesh=a,b"], "four whole numbers"),
    ],
)
def test_mistakes_are_told_in_a_line(arguments: list[str], says: str) -> None:
    answer = launch_tpu(*arguments)
    assert answer.returncode == 2
    assert says in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_tool_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    answer = launch_tpu("watch", *flags_of("slurm"))
    assert answer.returncode == 1
    assert "squeue is not installed here" in answer.stderr


def test_flags_of_a_project_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "pod.flags"
    file.write_text("\n".join(flags_of("jobset")))
    answer = launch_tpu("delete", f"--flagfile={file}", "--run_name=another", "--dry_run")
    assert answer.returncode == 0, answer.stderr
    assert "--selector=evo-run=another" in answer.stdout
