"""Tests of env_synth/snapshots.py."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from env_synth import snapshots
from env_synth.contract import AnswerType, Family, Instance, Split
from env_synth.errors import RegistryError
from env_synth.snapshots import Snapshot, SnapshotEntry, write_snapshot

ROOT = Path(__file__).parents[2]


def instance(environment: str, split: Split, level: int, index: int, public: object = None) -> Instance:
    return Instance(
        instance_id=f"{environment}-{split}-{level}-{index}",
        environment_id=environment,
        split=split,
        index=index,
        level=level,
        prompt=f"What is {index}? \u00e9\n",
        public={"n": index, "big": 2**90, "x": 0.1, "none": None} if public is None else public,
        private={},
        reference_answer=str(index),
        family=Family.COMPUTE,
        answer_type=AnswerType.INT,
        answer_format="one integer",
    )


def entry(environment: str, level: int = 2, train: int = 3, held_out: int = 2) -> SnapshotEntry:
    return SnapshotEntry(
        environment,
        level,
        0.25,
        tuple(instance(environment, Split.TRAIN, level, i) for i in range(train)),
        tuple(instance(environment, Split.HELD_OUT, level, i) for i in range(held_out)),
    )


def tree(directory: Path) -> dict[str, str]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_everything_comes_back(tmp_path: Path) -> None:
    entries = [entry("a" * 64, 0), entry("b" * 64, 2, train=1, held_out=0), entry("a" * 64, 4)]
    write_snapshot(tmp_path, 1, entries)
    found = Snapshot.open(tmp_path, 1)
    assert found.number == 1
    assert [(e.environment_id[0], e.level, e.weight) for e in found.environments] == [
        ("a", 0, 0.25),
        ("a", 4, 0.25),
        ("b", 2, 0.25),
    ]
    for written in entries:
        for split, kept in ((Split.TRAIN, written.train), (Split.HELD_OUT, written.held_out)):
            key = (written.environment_id, split, written.level)
            assert found.count(*key) == len(kept)
            assert tuple(found.instance(*key, position) for position in range(len(kept))) == kept
    assert ("a" * 64, 4) in found
    assert ("a" * 64, 3) not in found
    with pytest.raises(RegistryError, match="no train instance 3"):
        found.instance("a" * 64, Split.TRAIN, 0, 3)
    with pytest.raises(RegistryError, match="at level 7"):
        found.count("a" * 64, Split.TRAIN, 7)


def test_same_content_same_bytes_and_no_rewrite(tmp_path: Path) -> None:
    one = write_snapshot(tmp_path / "x", 1, [entry("a")])
    before = {path: path.stat().st_mtime_ns for path in one.iterdir()}
    assert tree(write_snapshot(tmp_path / "y", 1, [entry("a")])) == tree(one)
    write_snapshot(tmp_path / "x", 1, [entry("a")])
    assert {path: path.stat().st_mtime_ns for path in one.iterdir()} == before


def test_a_snapshot_is_never_changed_but_replaced_when_asked(tmp_path: Path) -> None:
    write_snapshot(tmp_path, 1, [entry("a")])
    with pytest.raises(RegistryError, match="another snapshot has this number"):
        write_snapshot(tmp_path, 1, [entry("b")])
    assert Snapshot.open(tmp_path, 1).environments[0].environment_id == "a"
    write_snapshot(tmp_path, 1, [entry("b")], replace=True)
    assert Snapshot.open(tmp_path, 1).environments[0].environment_id == "b"
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == ["000001"]


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "manifest"])
def test_damage_is_named(tmp_path: Path, damage: str) -> None:
    directory = write_snapshot(tmp_path, 3, [entry("a")])
    bank = directory / ("manifest.json" if damage == "manifest" else "a.array_record")
    data = bytearray(bank.read_bytes())
    if damage == "remove":
        bank.unlink()
    elif damage == "flip":
        data[len(data) // 2] ^= 1
        bank.write_bytes(data)
    else:
        bank.write_bytes(data[: len(data) // 2])
    with pytest.raises(RegistryError, match=bank.name):
        Snapshot.open(tmp_path, 3)
    write_snapshot(tmp_path, 3, [entry("a")], replace=True)
    assert Snapshot.open(tmp_path, 3).count("a", Split.TRAIN, 2) == 3


def test_missing_snapshot_and_bad_entries(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="no such snapshot"):
        Snapshot.open(tmp_path, 9)
    with pytest.raises(RegistryError, match="start at 1"):
        write_snapshot(tmp_path, 0, [])
    with pytest.raises(RegistryError, match="two entries"):
        write_snapshot(tmp_path, 1, [entry("a"), entry("a")])
    misfiled = SnapshotEntry("b", 2, 1.0, entry("a").train, ())
    with pytest.raises(RegistryError, match="does not belong"):
        write_snapshot(tmp_path, 1, [misfiled])
    assert not (tmp_path / "snapshots").exists()


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4])
def test_killed_in_the_middle_leaves_no_half_snapshot(tmp_path: Path, after: int) -> None:
    write_snapshot(tmp_path, 1, [entry("a")])
    ended = subprocess.run([sys.executable, __file__, str(after), str(tmp_path)], cwd=ROOT, env={"PYTHONPATH": str(ROOT)})
    assert ended.returncode == -signal.SIGKILL
    assert Snapshot.open(tmp_path, 1).count("a", Split.TRAIN, 2) == 3
    if after < 4:  # the last sync comes after the rename
        with pytest.raises(RegistryError, match="no such snapshot"):
            Snapshot.open(tmp_path, 2)
    write_snapshot(tmp_path, 2, [entry("b"), entry("c")])
    assert Snapshot.open(tmp_path, 2).count("c", Split.TRAIN, 2) == 3
    assert sorted(path.name for path in (tmp_path / "snapshots").iterdir()) == ["000001", "000002"]


def write_and_die(after: int, root: Path) -> None:
    """Kills this process at the sync number `after` of writing a snapshot; the test above runs it in a process of its own."""
    real, syncs = snapshots._sync, iter(range(100))

    def sync_or_die(path: Path) -> None:
        if next(syncs) == after:
            os.kill(os.getpid(), signal.SIGKILL)
        real(path)

    snapshots._sync = sync_or_die
    write_snapshot(root, 2, [entry("b"), entry("c")])


if __name__ == "__main__":
    write_and_die(int(sys.argv[1]), Path(sys.argv[2]))
