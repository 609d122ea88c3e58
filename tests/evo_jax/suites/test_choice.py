"""Tests of evo_jax/suites/choice.py."""

import json
from pathlib import Path

import pytest

from evo_jax.config import Config
from evo_jax.run_directory import as_json
from evo_jax.suites.choice import PolicyChoice, PolicyChoiceError, choose_policy


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    (run / "checkpoints" / "12").mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"config": as_json(Config())}))
    return run


def test_a_run_can_be_named_by_itself_or_by_a_checkpoint(run_dir: Path) -> None:
    assert choose_policy(str(run_dir), None) == PolicyChoice(run_dir, True, None)
    assert choose_policy(str(run_dir), 4) == PolicyChoice(run_dir, True, 4)
    assert choose_policy(str(run_dir / "checkpoints"), 4) == PolicyChoice(run_dir, True, 4)
    assert choose_policy(str(run_dir / "checkpoints" / "12"), None) == PolicyChoice(run_dir, True, 12)


def test_a_model_is_told_from_a_run_though_both_have_a_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    assert choose_policy(str(tmp_path), None) == PolicyChoice(tmp_path, False)
    assert choose_policy(str(tmp_path / "tiny.gguf"), None) == PolicyChoice(tmp_path / "tiny.gguf", False)


def test_what_is_no_policy_is_told(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "config.json").write_text("{}")
    for text, step, reason in (
        (str(tmp_path / "nowhere"), None, "no such file"),
        (str(tmp_path / "notes.txt"), None, "neither a .gguf"),
        (str(run_dir / "checkpoints" / "12"), 4, "give one of them"),
        (str(tmp_path), 4, "no run directory"),
    ):
        with pytest.raises(PolicyChoiceError, match=reason):
            choose_policy(text, step)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(PolicyChoiceError, match=r"no config\.json"):
        choose_policy(str(empty), None)
