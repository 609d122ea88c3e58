"""Tests of env_synth/export_environment.py."""

from pathlib import Path

import pytest

from env_synth.export_environment import main

ROOT = Path(__file__).parents[2]
SEED = ROOT / "env_synth" / "seeds" / "linear_recurrence.py"
BROKEN = ROOT / "tests" / "env_synth" / "corpus" / "broken" / "verify_accepts_all.py"


def test_writes_an_admitted_environment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(SEED), "--to=verifiers", f"--output={tmp_path}", "--name=recurrence", "--level=3"]) == 0
    assert (tmp_path / "recurrence" / "recurrence" / "admission.json").exists()
    assert "level: int = 3" in (tmp_path / "recurrence" / "recurrence" / "taskset.py").read_text()
    assert "admitted_mechanically" in capsys.readouterr().out


def test_a_refused_one_is_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(BROKEN), "--to=reasoning_gym", f"--output={tmp_path}"]) == 1
    assert list(tmp_path.iterdir()) == []
    assert "refused at S4" in capsys.readouterr().err


def test_misuse_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.py"), "--to=verifiers", f"--output={tmp_path}"]) == 2
    assert "cannot be read" in capsys.readouterr().err
