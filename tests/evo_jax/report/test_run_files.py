"""Tests of evo_jax/report/run_files.py."""

from pathlib import Path

from evo_jax.report import ReportEnvironments
from evo_jax.report.run_files import read_run_files


def test_everything_a_run_leaves_is_read(run_double: tuple[Path, ReportEnvironments]) -> None:
    run = read_run_files(run_double[0])
    assert run.config["seed"] == 0
    assert run.provenance["commit"] == "0123456789ab"
    assert [line["step"] for line in run.metrics] == list(range(25))
    assert run.checkpoints == ["checkpoints/24"]
    assert run.exports == ["export"]
    assert run.samples[0]["role"] == "solver"


def test_missing_torn_and_foreign_files_are_passed_over(tmp_path: Path) -> None:
    assert read_run_files(tmp_path).metrics == []
    (tmp_path / "config.json").write_text("{torn")
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step":1,"reward":0.5}\n[1]\n{"no":"step"}\n\xff\xfe\n{"step":2,"rew')
    run = read_run_files(tmp_path)
    assert run.metrics == [{"step": 1, "reward": 0.5}]
    assert run.config == {}


def test_checkpoints_may_be_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"config": {"checkpoint": {"directory": "gs://bucket/run"}}}')
    assert read_run_files(tmp_path).checkpoints == ["in gs://bucket/run"]


def test_checkpoints_are_in_the_order_of_their_steps(tmp_path: Path) -> None:
    for name in ("8", "16", "100", "100.partial"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert read_run_files(tmp_path).checkpoints == ["checkpoints/8", "checkpoints/16", "checkpoints/100"]
