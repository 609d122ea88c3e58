"""Tests of evo_jax/checkpoint.py."""

import os
import shutil
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evo_jax.checkpoint import Checkpoint, CheckpointError, CheckpointStore


def state(value: float, size: int = 1000) -> dict[str, jax.Array]:
    return {"weights": jnp.arange(size, dtype=jnp.float32) * value, "count": jnp.asarray(int(value), jnp.int32)}


def checkpoint(step: int, size: int = 1000) -> Checkpoint:
    return Checkpoint(step, state(float(step), size), {"snapshot": step, "loader": {"next_index": step * 3}})


def ignore(text: str) -> None:
    pass


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    store.save(checkpoint(3))
    found = store.restore(jax.tree.map(jnp.zeros_like, state(0.0)), ignore)
    assert found is not None
    assert found.step == 3
    assert found.progress == {"snapshot": 3, "loader": {"next_index": 9}}
    for name, value in state(3.0).items():
        np.testing.assert_array_equal(found.state[name], value)


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    for step in (1, 2, 3):
        store.save(checkpoint(step))
    assert store.steps == [2, 3]


def test_nothing_saved_is_nothing_restored(tmp_path: Path) -> None:
    assert CheckpointStore(tmp_path / "checkpoints", keep=2).restore(state(0.0), ignore) is None


def truncate_arrays(directory: Path) -> None:
    files = [path for path in (directory / "state").rglob("*") if path.is_file() and path.stat().st_size > 0]
    assert files
    for path in files:
        os.truncate(path, path.stat().st_size // 2)


def test_a_truncated_checkpoint_falls_back_to_the_one_before_and_says_so(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    store.save(checkpoint(1))
    store.save(checkpoint(2))
    truncate_arrays(tmp_path / "checkpoints" / "2")
    notes: list[str] = []
    found = CheckpointStore(tmp_path / "checkpoints", keep=2).restore(state(0.0), notes.append)
    assert found is not None
    assert found.step == 1
    np.testing.assert_array_equal(found.state["weights"], state(1.0)["weights"])
    assert len(notes) == 1
    assert "step 2 cannot be read" in notes[0]


def test_when_all_are_damaged_the_error_says_so(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    store.save(checkpoint(1))
    truncate_arrays(tmp_path / "checkpoints" / "1")
    with pytest.raises(CheckpointError, match=r"none of the checkpoints \[1\]"):
        store.restore(state(0.0), ignore)


def test_discarding_lets_a_resumed_run_save_the_same_step_again(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints", keep=3)
    for step in (1, 2, 3):
        store.save(checkpoint(step))
    store.discard_after(1)
    assert store.steps == [1]
    store.save(checkpoint(2))
    assert store.steps == [1, 2]


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="a small disk needs the right to mount one")
def test_a_reader_leaves_a_save_that_is_under_way_alone(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    store.save(checkpoint(1))
    half_written = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "checkpoints" / "1", half_written)
    reader = CheckpointStore(tmp_path / "checkpoints", keep=1, read_only=True)
    found = reader.restore(state(0.0), ignore)
    reader.close()
    assert found is not None
    assert found.step == 1
    assert half_written.is_dir()
    with pytest.raises(CheckpointError):
        reader.save(checkpoint(3))
    assert store.steps == [1]


def test_a_full_disk_names_the_step_and_keeps_what_was_saved(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        store = CheckpointStore(disk / "checkpoints", keep=3)
        store.save(checkpoint(1))
        rng = np.random.default_rng(0)
        large = {"weights": jnp.asarray(rng.standard_normal(4_000_000), jnp.float32), "count": jnp.asarray(2, jnp.int32)}
        with pytest.raises(CheckpointError, match=r"step 2 .*checkpoints of steps \[1\] are intact"):
            store.save(Checkpoint(2, large, {}))
        found = CheckpointStore(disk / "checkpoints", keep=3).restore(state(0.0), ignore)
        assert found is not None
        assert found.step == 1
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
