"""Tests of evo_jax/checkpoint.py."""

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evo_jax.checkpoint import Checkpoint, CheckpointError, CheckpointStore

# Orbax leaves its other reads under way when one has failed, and Python tells of each, whenever it likes.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def state(value: float, size: int = 1000) -> dict[str, jax.Array]:
    return {"weights": jnp.arange(size, dtype=jnp.float32) * value, "count": jnp.asarray(int(value), jnp.int32)}


def checkpoint(step: int, size: int = 1000) -> Checkpoint:
    return Checkpoint(step, state(float(step), size), {"snapshot": step, "loader": {"next_index": step * 3}})


def ignore(text: str) -> None:
    pass


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[CheckpointStore]:
    """A store whose saves are written in the background."""
    store = CheckpointStore(tmp_path / "checkpoints", keep=2, in_background=True)
    yield store
    store.close()


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


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def garble(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))


def every(harm: Callable[[Path], None], *patterns: str) -> Callable[[Path], None]:
    """Harms the files of a checkpoint that match."""

    def damage(directory: Path) -> None:
        files = [path for pattern in patterns for path in directory.glob(pattern) if path.is_file() and path.stat().st_size > 0]
        assert files
        for path in files:
            harm(path)

    return damage


truncate_arrays = every(truncate, "state/**/*")
DAMAGE: dict[str, Callable[[Path], None]] = {
    "all truncated": truncate_arrays,
    **{
        f"{harm.__name__} {pattern}": every(harm, pattern)
        for pattern in ("state/manifest.ocdbt", "state/d/*", "state/ocdbt.process_0/d/*", "progress/metadata")
        for harm in (truncate, garble, Path.unlink)
    },
    "no state": lambda directory: shutil.rmtree(directory / "state"),
    "no progress": lambda directory: shutil.rmtree(directory / "progress"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    store.save(checkpoint(1))
    store.save(checkpoint(2))
    damage(tmp_path / "checkpoints" / "2")
    notes: list[str] = []
    found = CheckpointStore(tmp_path / "checkpoints", keep=2).restore(state(0.0), notes.append)
    assert found is not None
    assert found.step == 1
    np.testing.assert_array_equal(found.state["weights"], state(1.0)["weights"])
    assert len(notes) == 1
    assert "step 2 cannot be read" in notes[0]


@pytest.mark.parametrize("file", ["state/manifest.ocdbt", "state/ocdbt.process_0/d/*"])
def test_what_cannot_be_read_for_a_while_is_not_taken_for_damaged(tmp_path: Path, file: str) -> None:
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    for step in (1, 2):
        store.save(checkpoint(step))
    for path in (tmp_path / "checkpoints" / "2").glob(file):
        path.rename(tmp_path / path.name)
        path.symlink_to(path.name)  # a loop, which the system refuses to open
    with pytest.raises(CheckpointError, match=r"step 2 .*not known to be damaged"):
        store.restore(state(0.0), pytest.fail)
    for path in (tmp_path / "checkpoints" / "2").glob(file):
        (tmp_path / path.name).replace(path)
    found = store.restore(state(0.0), pytest.fail)
    assert found is not None
    assert found.step == 2


@pytest.mark.parametrize(
    "error",
    [
        ValueError("UNAVAILABLE: Error reading gs://bucket/2/state/manifest.ocdbt: HTTP response code: 503"),
        ValueError("RESOURCE_EXHAUSTED: Error reading local file: [OS error 24: EMFILE Too many open files]"),
        OSError(5, "Input/output error"),
        MemoryError(),
    ],
    ids=["bucket", "files", "disk", "memory"],
)
def test_no_older_checkpoint_stands_in_for_one_that_may_be_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The errors as TensorStore and the system raise them, below Orbax's own word on the array that was read."""
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    for step in (1, 2):
        store.save(checkpoint(step))

    def fails(step: int, args: object) -> None:
        raise RuntimeError("Encountered error while reading array index") from error

    monkeypatch.setattr(store._manager, "restore", fails)
    with pytest.raises(CheckpointError, match=r"step 2 .*not known to be damaged"):
        store.restore(state(0.0), pytest.fail)


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


# ---- written while the run goes on -------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory_kind", ["device", "pinned_host"])
def test_what_comes_back_is_the_state_as_it_was_when_its_buffers_were_given_away(
    beside: CheckpointStore, memory_kind: str
) -> None:
    on_device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    kept = on_device.with_memory_kind(memory_kind)

    def doubled(values: dict[str, jax.Array]) -> dict[str, jax.Array]:
        return jax.tree.map(lambda x: x * 2, jax.device_put(values, on_device))

    update = jax.jit(doubled, donate_argnums=0, out_shardings=kept)
    current, progress = jax.device_put(state(1.0, 4_000_000), kept), {"cursors": [0]}
    for step in (1, 2, 3):
        beside.save(Checkpoint(step, current, progress))
        for _ in range(3):
            current = update(current)
        progress["cursors"].append(step)
    beside.finish()
    assert beside.steps == [2, 3]
    for step, value in ((2, 8.0), (3, 64.0)):
        found = beside.restore(jax.tree.map(jnp.zeros_like, state(0.0, 4_000_000)), pytest.fail, step)
        assert found is not None
        assert found.progress == {"cursors": list(range(step))}
        assert found.state["count"] == int(value)
        np.testing.assert_array_equal(found.state["weights"], state(value, 4_000_000)["weights"])


def test_a_save_that_is_under_way_is_no_checkpoint_yet_and_replaces_none(beside: CheckpointStore) -> None:
    for step in (1, 2, 3):
        beside.save(checkpoint(step))
    assert beside.steps == [1, 2]
    beside.finish()
    assert beside.steps == [2, 3]
    beside.finish()
    assert beside.steps == [2, 3]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file can be written beyond `size` bytes by this process."""
    _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def look_until_it_is_told(store: CheckpointStore) -> None:
    """What the loop does between steps."""
    for _ in range(600):
        store.check()
        time.sleep(0.1)


@pytest.mark.parametrize(
    "notice",
    [CheckpointStore.finish, CheckpointStore.close, look_until_it_is_told, lambda store: store.save(checkpoint(3))],
    ids=["finish", "close", "check", "next save"],
)
def test_a_failure_in_the_background_names_its_step_and_leaves_what_was_saved(
    beside: CheckpointStore, notice: Callable[[CheckpointStore], None]
) -> None:
    for step in (1, 2):
        beside.save(checkpoint(step))
    beside.finish()
    noise = jnp.asarray(np.random.default_rng(0).standard_normal(4_000_000), jnp.float32)
    with files_of_at_most(2**20):
        beside.save(Checkpoint(7, {"weights": noise, "count": jnp.asarray(7, jnp.int32)}, {}))
        with pytest.raises(CheckpointError, match=r"step 7 .*checkpoints of steps \[1, 2\] are intact"):
            notice(beside)
    assert beside.steps == [1, 2]
    again = CheckpointStore(beside.directory, keep=2)
    found = again.restore(state(0.0), pytest.fail)
    again.close()
    assert found is not None
    assert found.step == 2
