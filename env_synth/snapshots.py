"""Numbered, immutable directories of instances: what the loader reads, a pure function of (snapshot, seed, position).

`snapshots/000001/` holds one ArrayRecord bank an environment (its instances, level by level, the training split first) and
manifest.json, which says where each entry's instances lie and the SHA-256 of every bank. The same content gives the same
bytes. Written beside its place and renamed, so that a snapshot is there whole or not at all. Left out: which
environments and instances go in (the trainer's pool), and the registry's history.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from array_record.python import array_record_module

from env_synth.contract import Instance, Split
from env_synth.errors import RegistryError

FORMAT = "env_synth snapshot 1"
FOLDER = "snapshots"
MANIFEST = "manifest.json"
_WRITER_OPTIONS = "group_size:1"  # every record on its own, for random access
_READER_OPTIONS = "readahead_buffer_size:0"
_HASH_BLOCK = 1 << 20


@dataclass(frozen=True)
class SnapshotEntry:
    """The instances of one environment at one level, to be written; `weight` is its share of the sampling."""

    environment_id: str
    level: int
    weight: float
    train: tuple[Instance, ...]
    held_out: tuple[Instance, ...]


@dataclass(frozen=True)
class BankEntry:
    """One environment at one level, as a snapshot's manifest lists it; counts are instances."""

    environment_id: str
    level: int
    weight: float
    train_count: int
    held_out_count: int
    first: int  # position of its first training instance in the bank; the held-out ones follow the training ones


class Snapshot:
    """One snapshot, open for reading. Not for use from several threads at once."""

    def __init__(self, directory: Path, number: int, environments: tuple[BankEntry, ...], files: dict[str, str]) -> None:
        """Use `Snapshot.open`."""
        self.directory = directory
        self.number = number
        self.environments = environments
        self._files = files
        self._entries = {(entry.environment_id, entry.level): entry for entry in environments}
        self._readers: dict[str, Any] = {}

    @classmethod
    def open(cls, root: Path | str, number: int) -> Snapshot:
        """Opens snapshot `number` under `root` and checks every bank against its SHA-256.

        Raises RegistryError, naming the file, for a snapshot that is missing, incomplete or changed.
        """
        directory = _directory(Path(root), number)
        manifest = _read_manifest(directory)
        for entry in manifest["files"]:
            path = directory / entry["name"]
            if not path.is_file() or _sha256(path) != entry["sha256"]:
                raise RegistryError(f"{path}: missing or changed since the snapshot was made; restore it or make it again")
        environments = tuple(BankEntry(**entry) for entry in manifest["environments"])
        files = {entry["environment_id"]: entry["name"] for entry in manifest["files"]}
        return cls(directory, number, environments, files)

    def __contains__(self, key: tuple[str, int]) -> bool:
        """True if (environment_id, level) has an entry."""
        return key in self._entries

    def count(self, environment_id: str, split: Split, level: int) -> int:
        """How many instances are stored. Raises RegistryError for an environment and level that are not in it."""
        entry = self._entry(environment_id, level)
        return entry.train_count if split == Split.TRAIN else entry.held_out_count

    def instance(self, environment_id: str, split: Split, level: int, position: int) -> Instance:
        """The instance at `position`, from 0. Raises RegistryError for a place that is not in it."""
        entry = self._entry(environment_id, level)
        if not 0 <= position < self.count(environment_id, split, level):
            raise RegistryError(f"{self.directory}: {environment_id[:12]} has no {split} instance {position} at level {level}")
        place = entry.first + position + (0 if split == Split.TRAIN else entry.train_count)
        found = msgspec.json.decode(self._reader(environment_id).read([place])[0], type=Instance)
        if (found.environment_id, found.split, found.level) != (environment_id, split, level):
            raise RegistryError(f"{self.directory}: the bank of {environment_id[:12]} does not match the manifest")
        return found

    def close(self) -> None:
        """Closes the banks; a later read opens them again."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def _entry(self, environment_id: str, level: int) -> BankEntry:
        try:
            return self._entries[(environment_id, level)]
        except KeyError:
            raise RegistryError(f"{self.directory}: holds no {environment_id[:12]} at level {level}") from None

    def _reader(self, environment_id: str) -> Any:
        if environment_id not in self._readers:
            path = self.directory / self._files[environment_id]
            self._readers[environment_id] = array_record_module.ArrayRecordReader(str(path), _READER_OPTIONS)
        return self._readers[environment_id]


def write_snapshot(root: Path | str, number: int, entries: Sequence[SnapshotEntry], *, replace: bool = False) -> Path:
    """Writes snapshot `number` under `root` and returns its directory.

    The same content again changes nothing. Other content under the same number is an error unless `replace` (a resumed
    run that makes an abandoned snapshot again).

    Raises RegistryError for a number below 1, doubled or misfiled entries, a different snapshot in the way, or a full disk.
    """
    if number < 1:
        raise RegistryError(f"snapshot numbers start at 1, got {number}")
    _check(entries)
    directory = _directory(Path(root), number)
    temporary = directory.with_name(f".{directory.name}.{os.getpid()}.partial")
    try:
        for stale in directory.parent.glob(f".{directory.name}.*"):
            shutil.rmtree(stale)
        temporary.mkdir(parents=True)
        _write_into(temporary, number, entries)
        if directory.exists():
            if _manifest_bytes(directory) == _manifest_bytes(temporary) and _is_whole(directory):
                shutil.rmtree(temporary)
                return directory
            if not replace:
                shutil.rmtree(temporary)
                raise RegistryError(f"{directory}: another snapshot has this number; a snapshot is never changed")
            abandoned = directory.with_name(f".{directory.name}.{os.getpid()}.abandoned")
            directory.rename(abandoned)
            temporary.rename(directory)
            shutil.rmtree(abandoned)
        else:
            temporary.rename(directory)
        _sync(directory.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise RegistryError(f"{directory}: cannot write the snapshot ({error.strerror}); is the disk full?") from error
    return directory


def _check(entries: Sequence[SnapshotEntry]) -> None:
    seen: set[tuple[str, int]] = set()
    for entry in entries:
        key = (entry.environment_id, entry.level)
        if key in seen:
            raise RegistryError(f"two entries for {entry.environment_id[:12]} at level {entry.level}")
        seen.add(key)
        for split, instances in ((Split.TRAIN, entry.train), (Split.HELD_OUT, entry.held_out)):
            for instance in instances:
                if (instance.environment_id, instance.level, instance.split) != (*key, split):
                    raise RegistryError(
                        f"instance {instance.instance_id} does not belong to {key[0][:12]}, level {key[1]}, {split}"
                    )


def _write_into(directory: Path, number: int, entries: Sequence[SnapshotEntry]) -> None:
    environments, files = [], []
    for environment_id in dict.fromkeys(entry.environment_id for entry in entries):
        name = f"{environment_id}.array_record"
        writer = array_record_module.ArrayRecordWriter(str(directory / name), _WRITER_OPTIONS)
        first = 0
        for entry in entries:
            if entry.environment_id != environment_id:
                continue
            for instance in (*entry.train, *entry.held_out):
                writer.write(msgspec.json.encode(instance))
            counts = {"train_count": len(entry.train), "held_out_count": len(entry.held_out), "first": first}
            environments.append({"environment_id": environment_id, "level": entry.level, "weight": entry.weight, **counts})
            first += len(entry.train) + len(entry.held_out)
        writer.close()
        _sync(directory / name)
        files.append({"environment_id": environment_id, "name": name, "sha256": _sha256(directory / name)})
    manifest = {"format": FORMAT, "number": number, "environments": environments, "files": files}
    path = directory / MANIFEST
    path.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    _sync(path)
    _sync(directory)


def _directory(root: Path, number: int) -> Path:
    return root / FOLDER / f"{number:06d}"


def _read_manifest(directory: Path) -> dict[str, Any]:
    path = directory / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        if manifest["format"] != FORMAT or manifest["number"] != int(directory.name):
            raise RegistryError(f"{path}: of another format or number")
        return manifest
    except OSError as error:
        raise RegistryError(f"{path}: no such snapshot ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryError(f"{path}: damaged manifest ({error!r}); restore it or make the snapshot again") from error


def _manifest_bytes(directory: Path) -> bytes:
    path = directory / MANIFEST
    return path.read_bytes() if path.is_file() else b""


def _is_whole(directory: Path) -> bool:
    listed = _read_manifest(directory)["files"]
    return all(
        (directory / entry["name"]).is_file() and _sha256(directory / entry["name"]) == entry["sha256"] for entry in listed
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    """Makes a file or a directory's entries durable before anything that relies on them is."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
