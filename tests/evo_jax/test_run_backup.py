"""Tests of evo_jax/run_backup.py. A directory stands for the bucket; tests/evo_jax/test_bucket.py goes through gs://."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import jax.numpy as jnp
import pytest

from evo_jax.checkpoint import Checkpoint, CheckpointError, CheckpointStore
from evo_jax.config import Config, ConfigError
from evo_jax.run_backup import BLOCK_BYTES, FOLDER, BackedUpCheckpoints, RunBackup, open_backup

STATE = {"weights": jnp.arange(8.0)}


def write_run(run_dir: Path, *, lines: int, config: str = "{}") -> None:
    """A run directory with a long log, a database that somebody has open, and a snapshot."""
    (run_dir / "registry" / "snapshots" / "000001").mkdir(parents=True, exist_ok=True)
    (run_dir / "config.json").write_text(config)
    (run_dir / "samples.jsonl").write_text("".join(f"{number:0127d}\n" for number in range(lines)))
    (run_dir / "registry" / "snapshots" / "000001" / "manifest.json").write_text("banks")
    (run_dir / "export").mkdir(exist_ok=True)
    (run_dir / "export" / "model.safetensors").write_text("not the run's state")


def checkpoints(directory: Path, run_dir: Path, *, in_background: bool = False) -> BackedUpCheckpoints:
    store = CheckpointStore(directory, keep=2, in_background=in_background)
    return BackedUpCheckpoints(store, RunBackup(directory), run_dir)


def files(run_dir: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run_dir)): path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Path]:
    """(checkpoint.directory, run directory) after steps 1 and 2."""
    directory, run_dir = tmp_path / "bucket", tmp_path / "run"
    kept = checkpoints(directory, run_dir)
    for step in (1, 2):
        write_run(run_dir, lines=step * 10_000)
        kept.save(Checkpoint(step, STATE, {"step": step}))
    return directory, run_dir


def test_a_lost_run_directory_comes_back_as_it_was_and_nothing_else(saved: tuple[Path, Path], tmp_path: Path) -> None:
    directory, run_dir = saved
    wanted = files(run_dir)
    del wanted["export/model.safetensors"]
    shutil.rmtree(run_dir)
    notes: list[str] = []
    RunBackup(directory).fill(tmp_path / "elsewhere", notes.append)
    assert files(tmp_path / "elsewhere") == wanted
    assert "files of step 2" in notes[0]


def test_a_database_comes_back_without_what_another_life_of_it_left(tmp_path: Path) -> None:
    run_dir, path = tmp_path / "run", tmp_path / "run" / "registry" / "registry.sqlite"
    write_run(run_dir, lines=1)
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE events (number INTEGER)")
        database.execute("INSERT INTO events VALUES (1)")
        database.commit()  # in the -wal file alone, and still open
        checkpoints(tmp_path / "bucket", run_dir).save(Checkpoint(1, STATE, {}))
        database.execute("INSERT INTO events VALUES (2)")
        database.commit()
        assert path.with_name("registry.sqlite-wal").stat().st_size > 0
        left_by_a_kill = tmp_path / "killed"
        shutil.copytree(run_dir, left_by_a_kill)
    for place in (left_by_a_kill, tmp_path / "empty"):
        RunBackup(tmp_path / "bucket").fill(place, lambda line: None)
        with sqlite3.connect(place / "registry" / "registry.sqlite") as found:
            assert found.execute("SELECT number FROM events").fetchall() == [(1,)]


def test_of_a_growing_file_only_the_last_block_travels(tmp_path: Path) -> None:
    run_dir, backup = tmp_path / "run", RunBackup(tmp_path / "bucket")
    backup.take_over()
    write_run(run_dir, lines=3 * BLOCK_BYTES // 128)
    first = backup.send(run_dir, 1)
    write_run(run_dir, lines=3 * BLOCK_BYTES // 128 + 1)
    assert backup.send(run_dir, 2) == 128
    assert backup.send(run_dir, 3) == 0
    assert first == 3 * BLOCK_BYTES + len("{}") + len("banks")


def test_what_no_checkpoint_needs_any_more_is_deleted(saved: tuple[Path, Path]) -> None:
    directory, run_dir = saved
    kept = checkpoints(directory, run_dir)
    (directory / FOLDER / "left-by-a-kill").write_text("half a block")
    for step in (3, 4):
        write_run(run_dir, lines=step * 10_000)
        kept.save(Checkpoint(step, STATE, {}))
    assert kept.steps == [3, 4]
    left = {path.name for path in (directory / FOLDER).iterdir()}
    # The holder; two manifests; config and snapshot, shared; samples of steps 3 and 4, of 3.66 and 4.88 blocks, which share 3.
    assert {"step-3.json", "step-4.json"} < left
    assert len(left) == 1 + 2 + 2 + 4 + 2


def test_until_a_save_is_finished_the_files_of_what_it_replaces_stay(tmp_path: Path) -> None:
    run_dir, folder = tmp_path / "run", tmp_path / "bucket" / FOLDER
    kept = checkpoints(tmp_path / "bucket", run_dir, in_background=True)
    for step in (1, 2, 3):
        write_run(run_dir, lines=step * 10_000)
        kept.save(Checkpoint(step, STATE, {}))
    assert kept.steps == [1, 2]
    assert {path.name for path in folder.glob("step-*")} == {"step-1.json", "step-2.json", "step-3.json"}
    RunBackup(tmp_path / "bucket").fill(tmp_path / "elsewhere", lambda line: None)
    kept.check()
    kept.finish()
    assert kept.steps == [2, 3]
    assert {path.name for path in folder.glob("step-*")} == {"step-2.json", "step-3.json"}


def without_manifest(folder: Path) -> None:
    (folder / "step-2.json").unlink()


def with_half_a_manifest(folder: Path) -> None:
    path = folder / "step-2.json"
    path.write_text(path.read_text()[:40])


def with_a_truncated_block(folder: Path) -> None:
    newest = max(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns if path.stat().st_size > 10_000 else 0)
    newest.write_bytes(newest.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [without_manifest, with_half_a_manifest, with_a_truncated_block])
def test_a_checkpoint_whose_files_are_not_whole_is_none(
    saved: tuple[Path, Path], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    directory, _ = saved
    damage(directory / FOLDER)
    notes: list[str] = []
    RunBackup(directory).fill(tmp_path / "elsewhere", notes.append)
    assert (tmp_path / "elsewhere" / "samples.jsonl").stat().st_size == 128 * 10_000
    assert "step 2" in notes[0]
    assert "not whole" in notes[0]
    assert CheckpointStore(directory, keep=2).steps == [1]


def test_where_nothing_is_whole_the_error_says_so(saved: tuple[Path, Path], tmp_path: Path) -> None:
    directory, _ = saved
    shutil.rmtree(directory / FOLDER)
    with pytest.raises(CheckpointError, match=r"none of the checkpoints \[1, 2\]"):
        RunBackup(directory).fill(tmp_path / "elsewhere", lambda line: None)


def test_a_save_that_ended_halfway_leaves_the_step_before_it(saved: tuple[Path, Path], tmp_path: Path) -> None:
    directory, run_dir = saved
    write_run(run_dir, lines=30_000)
    killed = RunBackup(directory)
    killed.take_over()
    killed.send(run_dir, 3)  # and then the machine was gone: the state of step 3 was never saved
    RunBackup(directory).fill(tmp_path / "elsewhere", lambda line: None)
    assert (tmp_path / "elsewhere" / "samples.jsonl").stat().st_size == 128 * 20_000


def test_a_job_that_was_taken_for_lost_saves_nothing_more(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    write_run(run_dir, lines=1)
    lost = checkpoints(tmp_path / "bucket", run_dir)
    lost.save(Checkpoint(1, STATE, {}))
    new = checkpoints(tmp_path / "bucket", run_dir)
    with pytest.raises(CheckpointError, match=r"taken over by another job.*saved after the checkpoints of steps \[1\]"):
        lost.save(Checkpoint(2, STATE, {}))
    new.save(Checkpoint(2, STATE, {}))
    assert new.steps == [1, 2]


def test_another_runs_directory_is_not_written_over(saved: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_run(other, lines=1, config='{"another": "run"}')
    before = files(other)
    with pytest.raises(ConfigError, match="holds another run than"):
        RunBackup(saved[0]).fill(other, lambda line: None)
    assert files(other) == before


def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    config = Config()
    config.checkpoint.directory = str(tmp_path / "file" / "checkpoints")
    with pytest.raises(ConfigError, match=r"checkpoint\.directory=.*cannot be written"):
        open_backup(config)
    config.checkpoint.directory = ""
    assert open_backup(config) is None


@pytest.mark.skipif(find_spec("gcsfs") is not None, reason="gcsfs is installed")
def test_a_bucket_without_its_library_says_what_to_install() -> None:
    config = Config()
    config.checkpoint.directory = "gs://bucket/run"
    config.validate()
    with pytest.raises(ConfigError, match=r"gs://bucket/run.*pip install -r requirements-bucket\.txt"):
        open_backup(config)


def test_a_place_that_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    config = Config()
    config.checkpoint.directory = str(tmp_path / "checkpoints")
    backup = open_backup(config)
    assert backup is not None
    assert backup.steps == []
    assert files(tmp_path / "checkpoints") == {}


SAVING = """
import sys
from pathlib import Path
from tests.evo_jax.test_run_backup import STATE, checkpoints, written_at
from evo_jax.checkpoint import Checkpoint
directory, run_dir = map(Path, sys.argv[1:3])
kept = checkpoints(directory, run_dir, in_background=sys.argv[3] == "True")
step = found = max(kept.steps, default=0)
while True:
    step += 1
    written_at(run_dir, step)
    kept.save(Checkpoint(step, STATE, {"step": step}))
    if max(kept.steps, default=0) > found:
        print(step, flush=True)
"""


def written_at(run_dir: Path, step: int) -> None:
    """What the run's files are at a step: a log that grows by 3 MiB a step in blocks that differ, and small ones."""
    write_run(run_dir, lines=1)
    with (run_dir / "samples.jsonl").open("w") as file:
        file.writelines(f"{line:0127d}\n" for line in range(step * 24_000))


@pytest.mark.slow
def test_killed_at_any_moment_of_a_save_the_newest_checkpoint_is_whole(tmp_path: Path) -> None:
    directory, rng, before = tmp_path / "bucket", random.Random(os.urandom(8)), 0
    for life in range(8):
        run_dir = tmp_path / f"run-{life}"
        arguments = [sys.executable, "-c", SAVING, directory, run_dir, str(life % 2 == 0)]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=rng.uniform(0.0, 0.5))
        process.kill()
        process.wait()
        shutil.rmtree(run_dir)
        backup, found = RunBackup(directory), tmp_path / f"found-{life}"
        backup.fill(found, lambda line: None)
        step = backup.steps[-1]
        assert before < step
        written_at(tmp_path / "expected", step)
        assert (found / "samples.jsonl").read_bytes() == (tmp_path / "expected" / "samples.jsonl").read_bytes()
        store = CheckpointStore(directory, keep=2)
        restored = store.restore(STATE, pytest.fail)
        store.close()
        assert restored is not None
        assert restored.step == step
        before = step
