"""Tests of evo_jax/run_directory.py."""

import fcntl
from pathlib import Path

import pytest

from evo_jax.config import Config, ConfigError
from evo_jax.run_directory import RunDirectory, bind_base, check_base, read_config


def config(path: Path) -> Config:
    return Config(run_dir=str(path), steps=3)


def test_the_config_comes_back_as_it_was(tmp_path: Path) -> None:
    wanted = config(tmp_path / "run")
    wanted.rollout.stop = ("a", "b")
    wanted.data.levels = (0, 2)
    with RunDirectory(wanted, resume=False):
        pass
    assert read_config(tmp_path / "run") == wanted


def test_a_run_directory_is_never_reused(tmp_path: Path) -> None:
    with RunDirectory(config(tmp_path / "run"), resume=False):
        pass
    with pytest.raises(ConfigError, match="never reused"):
        RunDirectory(config(tmp_path / "run"), resume=False)


def test_somebody_elses_files_are_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty"):
        RunDirectory(config(tmp_path), resume=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt"]


@pytest.mark.parametrize(
    ("killed_at", "left"),
    [("evo_jax.run_directory.provenance", {".lock"}), ("pathlib.Path.replace", {".lock", "config.partial"})],
    ids=["provenance", "config"],
)
def test_a_start_that_was_killed_before_its_config_stood_can_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str, left: set[str]
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(killed_at, killed)
    with pytest.raises(KeyboardInterrupt):
        RunDirectory(config(tmp_path), resume=False)
    monkeypatch.undo()
    assert {path.name for path in tmp_path.iterdir()} == left
    with RunDirectory(config(tmp_path), resume=False):
        pass
    assert read_config(tmp_path) == config(tmp_path)


def test_a_run_that_started_and_ended_before_the_lock_was_ours_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock

    def after_another_run(file: object, how: int) -> None:
        monkeypatch.setattr("fcntl.flock", lock)
        (tmp_path / "config.json").write_text("theirs")

    monkeypatch.setattr("fcntl.flock", after_another_run)
    with pytest.raises(ConfigError, match="is not empty"):
        RunDirectory(config(tmp_path), resume=False)
    assert (tmp_path / "config.json").read_text() == "theirs"


def test_two_processes_cannot_hold_one_run(tmp_path: Path) -> None:
    with RunDirectory(config(tmp_path / "run"), resume=False), pytest.raises(ConfigError, match="in use by another process"):
        RunDirectory(config(tmp_path / "run"), resume=True)


def test_resuming_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no run"):
        RunDirectory(config(tmp_path / "run"), resume=True)


def test_resume_refuses_more_steps_where_the_learning_rate_falls_to_the_last_one(tmp_path: Path) -> None:
    started, longer = (config(tmp_path / "run") for _ in range(2))
    started.optimizer.schedule = longer.optimizer.schedule = "cosine"
    with RunDirectory(started, resume=False):
        pass
    longer.steps = 9
    with pytest.raises(ConfigError, match="steps: 3 -> 9"):
        RunDirectory(longer, resume=True)


def test_resume_refuses_another_config_but_takes_more_steps(tmp_path: Path) -> None:
    with RunDirectory(config(tmp_path / "run"), resume=False):
        pass
    changed = config(tmp_path / "run")
    changed.optimizer.learning_rate = 1.0
    with pytest.raises(ConfigError, match=r"optimizer\.learning_rate: 3e-05 -> 1\.0"):
        RunDirectory(changed, resume=True)
    longer = config(tmp_path / "run")
    longer.steps = 9
    with RunDirectory(longer, resume=True):
        pass


def test_a_damaged_config_is_named(tmp_path: Path) -> None:
    with RunDirectory(config(tmp_path / "run"), resume=False):
        pass
    (tmp_path / "run" / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="is damaged"):
        read_config(tmp_path / "run")


def test_adapters_stay_beside_the_base_they_were_started_with(tmp_path: Path) -> None:
    bind_base(tmp_path, "base.gguf", "aa" * 32)
    bind_base(tmp_path, "moved/base.gguf", "aa" * 32)
    with pytest.raises(ConfigError, match=r"other weights \(sha256 bbbbbbbbbbbb\).*\(base.gguf, sha256 aaaaaaaaaaaa\)"):
        bind_base(tmp_path, "base.gguf", "bb" * 32)
    with pytest.raises(ConfigError, match="which base the run's adapters belong to"):
        check_base(tmp_path / "elsewhere", "base.gguf", "aa" * 32)
