"""The files of a run directory that a resume needs, kept beside the checkpoints, so that the run outlives its machine.

With checkpoint.directory set, each checkpoint has a manifest there: every file of CARRIED as blocks named by their SHA-256. A
block is sent once and shared by all checkpoints that hold it, so that of growing files and of a database only what changed
travels. Blocks go first, then the manifest, then the checkpoint itself, maybe as the run goes on: a kill at any moment leaves
the checkpoints before it whole, and what it left behind goes with the next save. Process 0 alone reads and writes here. Left
out: arrays (`checkpoint.py`). A job that was taken for lost and still runs is stopped at its next save by the name of the one
that took over, HOLDER; a lock that also holds between that look and the end of the save is left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import sqlite3
import tempfile
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from etils import epath

from evo_jax.checkpoint import Checkpoint, CheckpointError, Checkpoints, absolute, finished_steps, first_line
from evo_jax.config import Config, ConfigError
from evo_jax.run_directory import BASE_FILE, CONFIG_FILE

FOLDER = "run_files"
HOLDER = "holder"  # names the job that saves here now
DATABASE = ".sqlite"
# What `--resume` and the report read. The config comes last: a directory without it holds no run yet.
CARRIED = (
    *("registry/snapshots/*/*", "registry/registry.sqlite", "tensorboard/*"),
    *("metrics.jsonl", "timings.jsonl", "evaluations.jsonl", "samples.jsonl", BASE_FILE, CONFIG_FILE),
)
BLOCK_BYTES = 2**20
SENDERS = 8  # blocks under way at once: a bucket takes long to answer, whatever the size
type Manifest = dict[str, dict[str, Any]]  # by the file's name in the run directory: its bytes, its blocks in order


class RunBackup:
    """What lies beside the checkpoints in one `checkpoint.directory`."""

    def __init__(self, directory: epath.PathLike) -> None:
        """Opens nothing and makes nothing yet."""
        self.directory = absolute(directory)
        self._root = self.directory / FOLDER
        self._manifests: dict[int, Manifest] = {}
        self._steps: list[int] | None = None
        self._name = f"{platform.node()}, process {os.getpid()}, {secrets.token_hex(8)}"

    @property
    def steps(self) -> list[int]:
        """Steps of the checkpoints that were there when this was first asked, oldest first. Raises ConfigError."""
        if self._steps is None:
            try:
                self._steps = finished_steps(self.directory)
            except Exception as error:  # whatever the bucket's library raises
                raise _unusable(self.directory, "read", error) from error
        return self._steps

    # ---- on a new machine ----------------------------------------------------------------------------------------------

    def fill(self, run_dir: Path, note: Callable[[str], None]) -> None:
        """Makes the files in `run_dir` those of the newest checkpoint, whose step goes on from there.

        A checkpoint whose files are damaged or gone is none, and is removed; the one before it is tried.

        Raises:
            ConfigError: `run_dir` holds another run.
            CheckpointError: the files of no checkpoint are whole, or the place cannot be reached.
        """
        for step in reversed(self.steps):
            try:
                manifest = self._manifest(step)
                _check_same_run(manifest, run_dir, self.directory)
                brought = sum([self._bring(name, entry, run_dir) for name, entry in manifest.items()])
                note(f"{run_dir} has the files of step {step} from {self.directory}; {brought / 2**20:.1f} MiB were brought")
                return
            except (_DamagedError, FileNotFoundError) as error:
                note(f"the run's files at step {step} in {self.directory} are not whole ({error}); trying the step before it")
                (self.directory / str(step)).rmtree()
            except ConfigError:
                raise
            except Exception as error:  # not told to be damaged, so nothing is removed
                raise CheckpointError(
                    f"the run's files cannot be brought from {self.directory}: {first_line(error)}"
                ) from error
        if self.steps:
            raise CheckpointError(
                f"the run's files are whole at none of the checkpoints {self.steps} in {self.directory}: restore it from a copy"
            )

    def _bring(self, name: str, entry: dict[str, Any], run_dir: Path) -> int:
        """Makes one file what the manifest says, out of the blocks that it has already and others; bytes that were brought."""
        path, brought = run_dir / name, 0
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".partial")
        with temporary.open("wb") as file, closing(_blocks_of(path)) as own:
            for wanted in entry["blocks"]:
                data = next(own, b"")
                if hashlib.sha256(data).hexdigest() != wanted:
                    data = (self._root / wanted).read_bytes()
                    brought += len(data)
                if hashlib.sha256(data).hexdigest() != wanted:
                    raise _DamagedError(f"{self._root / wanted} of {name} is not what was sent")
                file.write(data)
        if path.suffix == DATABASE:  # what an earlier life of this directory left: it belongs to another state of the file
            for companion in ("-wal", "-shm"):
                path.with_name(path.name + companion).unlink(missing_ok=True)
        temporary.replace(path)
        return brought

    # ---- with each checkpoint ------------------------------------------------------------------------------------------

    def take_over(self) -> None:
        """From now on this job saves here, and no other. Raises CheckpointError."""
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            (self._root / HOLDER).write_text(self._name)
        except Exception as error:  # whatever the bucket's library raises
            raise CheckpointError(f"{self.directory} cannot be written: {first_line(error)}") from error

    def send(self, run_dir: Path, step: int) -> int:
        """Puts the files of `run_dir` as they are now beside the checkpoint of `step`, which is to be made next.

        Returns the bytes that were new there.

        Raises:
            CheckpointError: another job took over since `take_over`, or the place cannot be written.
        """
        try:
            if (holder := (self._root / HOLDER).read_text()) != self._name:
                raise CheckpointError(
                    f"{self.directory} was taken over by another job ({holder}): this one was taken for lost, and nothing of "
                    f"it is saved after the checkpoints of steps {sorted(self._manifests)}"
                )
            if not self._manifests:  # a resume: what the checkpoints before it hold need not be sent again
                for known in self.steps:
                    with suppress(_DamagedError, FileNotFoundError):
                        self._manifest(known)
            with tempfile.TemporaryDirectory(prefix="evoenv-backup-") as scratch:
                manifest, sent = self._send_blocks(_carried(run_dir, Path(scratch)))
            (self._root / _manifest_name(step)).write_text(json.dumps(manifest))
            self._manifests[step] = manifest
            return sent
        except CheckpointError:
            raise
        except Exception as error:
            raise CheckpointError(
                f"the run's files could not be sent to {self.directory} with the checkpoint of step {step}: "
                f"{first_line(error)}. The checkpoints before it are intact: go on with --resume"
            ) from error

    def _send_blocks(self, files: Iterator[tuple[str, Path]]) -> tuple[Manifest, int]:
        there = self._blocks()
        manifest: Manifest = {}
        sending = []
        with ThreadPoolExecutor(SENDERS, "backup") as senders:
            for name, path in files:
                blocks = []
                for place, data in enumerate(_blocks_of(path)):
                    blocks.append(digest := hashlib.sha256(data).hexdigest())
                    if digest not in there:
                        there.add(digest)
                        # By place, not the data: a large file must not wait in memory for its turn.
                        sending.append(senders.submit(self._send_block, path, place, digest))
                manifest[name] = {"bytes": path.stat().st_size, "blocks": blocks}
            return manifest, sum(sent.result() for sent in sending)

    def _send_block(self, path: Path, place: int, digest: str) -> int:
        with path.open("rb") as file:
            file.seek(place * BLOCK_BYTES)
            data = file.read(BLOCK_BYTES)
        return (self._root / digest).write_bytes(data)

    def keep_only(self, steps: list[int]) -> None:
        """Deletes what none of the checkpoints of `steps` needs."""
        self._manifests = {step: manifest for step, manifest in self._manifests.items() if step in steps}
        needed = self._blocks() | {_manifest_name(step) for step in steps} | {HOLDER}
        for path in self._root.iterdir():
            if path.name not in needed:
                with suppress(FileNotFoundError):  # a bucket's listing may be older than the last deletion
                    path.unlink()

    def _blocks(self) -> set[str]:
        entries = (entry for manifest in self._manifests.values() for entry in manifest.values())
        return {block for entry in entries for block in entry["blocks"]}

    def _manifest(self, step: int) -> Manifest:
        path = self._root / _manifest_name(step)
        try:
            self._manifests[step] = json.loads(path.read_text())
        except ValueError as error:
            raise _DamagedError(f"{path}: {error}") from error
        return self._manifests[step]


class BackedUpCheckpoints:
    """The checkpoints of a run whose files travel with them; stands where the store stands."""

    def __init__(self, store: Checkpoints, backup: RunBackup, run_dir: Path) -> None:
        """Takes the place over from whatever job saved there before. Raises CheckpointError."""
        self._store, self._backup, self._run_dir = store, backup, run_dir
        backup.take_over()

    @property
    def steps(self) -> list[int]:
        """See `Checkpoints`."""
        return self._store.steps

    def save(self, checkpoint: Checkpoint) -> None:
        """See `Checkpoints`: finished only once the files of this moment are there as well."""
        self._store.finish()  # a failure is told before anything of this step is sent
        self._backup.send(self._run_dir, checkpoint.step)
        self._store.save(checkpoint)
        # Until this one is finished, those that it replaces are what a resume goes on from.
        self._backup.keep_only([*self._store.steps, checkpoint.step])

    def check(self) -> None:
        """See `Checkpoints`."""
        self._store.check()

    def finish(self) -> None:
        """See `Checkpoints`."""
        self._store.finish()
        self._backup.keep_only(self._store.steps)


def open_backup(config: Config) -> RunBackup | None:
    """What lies in checkpoint.directory; None where that is empty. Raises ConfigError, see `require_usable`."""
    require_usable(config)
    return RunBackup(config.checkpoint.directory) if config.checkpoint.directory else None


def require_usable(config: Config) -> None:
    """Raises ConfigError where this process cannot write and read checkpoint.directory: at the start, not after an hour."""
    if not config.checkpoint.directory:
        return
    directory = absolute(config.checkpoint.directory)
    probe = directory / FOLDER / f"probe-{secrets.token_hex(4)}"  # every process of a job has one
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_text(CONFIG_FILE)
        found = probe.read_text()
        probe.unlink()
    except Exception as error:  # whatever the bucket's library raises
        raise _unusable(directory, "written", error) from error
    if found != CONFIG_FILE:
        raise ConfigError(f"checkpoint.directory={str(directory)!r} gives back something else than was written there")


class _DamagedError(Exception):
    """What lies in the backup is not what was put there."""


def _unusable(directory: epath.Path, how: str, error: BaseException) -> ConfigError:
    told = f"checkpoint.directory={str(directory)!r} cannot be {how}: {first_line(error)}"
    needs = "; buckets need gcsfs: pip install -r requirements-bucket.txt" if isinstance(error, ImportError) else ""
    return ConfigError(told + needs)


def _check_same_run(manifest: Manifest, run_dir: Path, directory: epath.Path) -> None:
    own = run_dir / CONFIG_FILE
    kept = manifest.get(CONFIG_FILE, {"blocks": []})["blocks"]
    if own.is_file() and [hashlib.sha256(data).hexdigest() for data in _blocks_of(own)] != kept:
        raise ConfigError(
            f"run_dir={run_dir} holds another run than checkpoint.directory={str(directory)!r}: name an empty one, or the "
            "other run's checkpoints"
        )


def _carried(run_dir: Path, scratch: Path) -> Iterator[tuple[str, Path]]:
    """Names in the run directory, and where to read them; of a database a copy of one moment, made by SQLite itself."""
    for pattern in CARRIED:
        for path in sorted(run_dir.glob(pattern)):
            source = path
            if path.suffix == DATABASE:
                source = scratch / path.name
                with (
                    closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database,
                    closing(sqlite3.connect(source)) as copy,
                ):
                    database.backup(copy)
            yield str(path.relative_to(run_dir)), source


def _blocks_of(path: Path) -> Generator[bytes]:
    """None for a file that is not there."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        while data := file.read(BLOCK_BYTES):
            yield data


def _manifest_name(step: int) -> str:
    return f"step-{step}.json"
