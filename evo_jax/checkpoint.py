"""Checkpoints: everything an exact resume needs, kept by Orbax, the newest readable one found again.

A checkpoint of step s is two items: `state`, a pytree of arrays (parameters, optimizer state), and `progress`, JSON (snapshot
number, cursors, loader state, pending proposals, registry sequence). Left out: export to other formats (`export.py`), and
deciding when to save (`trainer.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import orbax.checkpoint as ocp
from etils import epath


class CheckpointError(Exception):
    """A checkpoint that could not be saved or restored; names the step, the cause and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """What was saved after `step` updates."""

    step: int
    state: Any
    progress: dict[str, Any]


class Checkpoints(Protocol):
    """Where the loop saves to."""

    @property
    def steps(self) -> list[int]:
        """Steps with a finished checkpoint, oldest first."""
        ...

    def save(self, checkpoint: Checkpoint) -> None:
        """Saves it whole or not at all. Raises CheckpointError."""
        ...


class CheckpointStore:
    """The checkpoints of one run, in one directory or under one prefix of a bucket; the newest `keep` stay."""

    def __init__(self, directory: epath.PathLike, *, keep: int, read_only: bool = False) -> None:
        """Opens or creates `directory`, a path or gs://BUCKET/PREFIX; what a killed save left behind is removed.

        `read_only`: nothing is made, cleaned up or saved, so that a run may be saving there at the same time.
        """
        self.directory, self._read_only = absolute(directory), read_only
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None if read_only else keep,
            read_only=read_only,
            create=not read_only,
            cleanup_tmp_directories=not read_only,
            # On CPU a background save would read the very buffers that the next update donates and overwrites.
            enable_async_checkpointing=jax.default_backend() != "cpu",
        )
        try:
            self._manager = ocp.CheckpointManager(self.directory, options=options)
        except OSError as error:
            raise CheckpointError(f"cannot use {self.directory} for checkpoints: {error}") from error

    @property
    def steps(self) -> list[int]:
        """Steps with a finished checkpoint, oldest first."""
        return sorted(self._manager.all_steps())

    def save(self, checkpoint: Checkpoint) -> None:
        """Saves under a temporary name and publishes at the end: a failure leaves every earlier checkpoint as it was.

        Raises:
            CheckpointError: the disk is full or cannot be written, or the store was opened read-only.
        """
        if self._read_only:
            raise CheckpointError(f"{self.directory} was opened read-only: step {checkpoint.step} is not saved")
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(checkpoint.state), progress=ocp.args.JsonSave(checkpoint.progress)
        )
        try:
            self._manager.save(checkpoint.step, args=items, force=True)
            self._manager.wait_until_finished()
        except Exception as error:  # Orbax and TensorStore report a full disk in many classes, ValueError among them
            raise CheckpointError(
                f"could not save the checkpoint of step {checkpoint.step} in {self.directory}: {first_line(error)}. "
                f"{self._what_is_left()} Free some space, then go on with --resume"
            ) from error

    def restore(self, like: Any, on_fallback: Callable[[str], None], step: int | None = None) -> Checkpoint | None:
        """The newest checkpoint that can be read (or that of `step`), with arrays shaped and placed like `like`.

        An unreadable one is reported through `on_fallback` and the one before it is tried. Returns None where none was ever
        saved.

        Raises:
            CheckpointError: checkpoints exist and none of them (or not the one asked for) can be read.
        """
        steps = self.steps if step is None else [step]
        for candidate in reversed(steps):
            try:
                restored = self._manager.restore(
                    candidate,
                    args=ocp.args.Composite(state=ocp.args.StandardRestore(like), progress=ocp.args.JsonRestore()),
                )
                return Checkpoint(candidate, restored["state"], restored["progress"])
            except Exception as error:  # whatever a damaged file raises, the next older one may be whole
                on_fallback(f"checkpoint of step {candidate} cannot be read ({first_line(error)}); trying the one before it")
        if steps:
            raise CheckpointError(
                f"none of the checkpoints {steps} in {self.directory} can be read with this configuration: "
                "restore the directory from a copy, or start a new run directory"
            )
        return None

    def discard_after(self, step: int) -> None:
        """Deletes checkpoints newer than `step`: unreadable ones, which a resumed run makes again."""
        for newer in [saved for saved in self.steps if saved > step]:
            self._manager.delete(newer)

    def close(self) -> None:
        """Waits for a running save and frees Orbax's threads."""
        self._manager.close()

    def _what_is_left(self) -> str:
        steps = self.steps
        return f"The checkpoints of steps {steps} are intact." if steps else "No earlier checkpoint exists."


def absolute(directory: epath.PathLike) -> epath.Path:
    """A path from the root of the file system on, or an address in a bucket as it is."""
    path = epath.Path(directory)
    return path if "://" in str(path) else epath.Path(os.path.abspath(path))


def finished_steps(directory: epath.PathLike) -> list[int]:
    """Steps with a finished checkpoint in `directory`, oldest first; for a process on its own, before the others join in."""
    folders = (path.name for path in ocp.utils.checkpoint_steps_paths(absolute(directory)))
    return sorted(int(name) for name in folders if name.isdecimal())


def first_line(error: BaseException) -> str:
    """What an error says first, or what it is."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
