"""Checkpoints: everything an exact resume needs, kept by Orbax, the newest readable one found again.

A checkpoint of step s is two items: `state`, a pytree of arrays (parameters, optimizer state), and `progress`, JSON (snapshot
number, cursors, loader state, pending proposals, registry sequence). A save may be written while the run goes on: it counts as
a checkpoint once it is finished, and one is under way at a time. Left out: export to other formats (`export.py`), and deciding
when to save (`trainer.py`).
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import orbax.checkpoint as ocp
from etils import epath

# How TensorStore begins what it says of a file that is cut off, garbled or gone. What passes, such as a bucket that does not
# answer or too many open files, begins with UNAVAILABLE, RESOURCE_EXHAUSTED, UNKNOWN and others.
_DAMAGE = ("DATA_LOSS", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE")


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
        """Saves it whole or not at all, maybe beside what comes next; finishes the save before it. Raises CheckpointError."""
        ...

    def check(self) -> None:
        """Raises CheckpointError where the save under way has failed; never waits."""
        ...

    def finish(self) -> None:
        """Waits for the save under way, if there is one. Raises CheckpointError where it failed."""
        ...


class CheckpointStore:
    """The checkpoints of one run, in one directory or under one prefix of a bucket; the newest `keep` stay."""

    def __init__(self, directory: epath.PathLike, *, keep: int, read_only: bool = False, in_background: bool = False) -> None:
        """Opens or creates `directory`, a path or gs://BUCKET/PREFIX; what a killed save left behind is removed.

        `read_only`: nothing is made, cleaned up or saved, so that a run may be saving there at the same time. `in_background`:
        `save` returns once the state may be changed.
        """
        self.directory, self._read_only, self._in_background = absolute(directory), read_only, in_background
        self._under_way: int | None = None
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None if read_only else keep,
            read_only=read_only,
            create=not read_only,
            cleanup_tmp_directories=not read_only,
            # Orbax has the arrays in host memory before it returns. On a CPU that is where they are already, and it takes
            # views: JAX overwrites no donated buffer that has one, but gives the update new memory for as long as they last.
            enable_async_checkpointing=in_background,
        )
        try:
            self._manager = ocp.CheckpointManager(self.directory, options=options)
        except OSError as error:
            raise CheckpointError(f"cannot use {self.directory} for checkpoints: {error}") from error
        self._finished = sorted(self._manager.all_steps())

    @property
    def steps(self) -> list[int]:
        """Steps with a finished checkpoint, oldest first; those that a save under way will replace are among them."""
        return list(self._finished)

    def save(self, checkpoint: Checkpoint) -> None:
        """Saves under a temporary name and publishes at the end: a failure leaves every earlier checkpoint as it was.

        Raises:
            CheckpointError: the disk is full or cannot be written, for this save or the one before it, whose step is named; or
                the store was opened read-only.
        """
        if self._read_only:
            raise CheckpointError(f"{self.directory} was opened read-only: step {checkpoint.step} is not saved")
        self.finish()
        # Orbax writes the JSON when it comes to it, and the parts of `progress` may be somebody's working state.
        progress = copy.deepcopy(checkpoint.progress) if self._in_background else checkpoint.progress
        items = ocp.args.Composite(state=ocp.args.StandardSave(checkpoint.state), progress=ocp.args.JsonSave(progress))
        try:
            self._manager.save(checkpoint.step, args=items, force=True)
        except Exception as error:  # Orbax and TensorStore report a full disk in many classes, ValueError among them
            raise self._not_saved(checkpoint.step, error) from error
        self._under_way = checkpoint.step
        if not self._in_background:
            self.finish()

    @property
    def is_writing(self) -> bool:
        """Whether `finish` would wait."""
        return self._under_way is not None and self._manager.is_saving_in_progress()

    def check(self) -> None:
        """See `Checkpoints`: between steps, because the work since a save that failed is lost, and the next save may be far."""
        if not self.is_writing:
            self.finish()

    def finish(self) -> None:
        """See `Checkpoints`. In a job of several processes it waits until all of them have written."""
        if self._under_way is None:
            return
        step, self._under_way = self._under_way, None
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._not_saved(step, error) from error
        self._finished = sorted(self._manager.all_steps())

    def restore(self, like: Any, on_fallback: Callable[[str], None], step: int | None = None) -> Checkpoint | None:
        """The newest checkpoint that can be read (or that of `step`), with arrays shaped and placed like `like`.

        A damaged one is reported through `on_fallback` and the one before it is tried. Returns None where none was ever saved.

        Raises:
            CheckpointError: checkpoints exist and none of them (or not the one asked for) can be read, or reading failed in a
                way that may pass: then no older one stands in, for what is newer than it would be discarded.
        """
        steps = self.steps if step is None else [step]
        for candidate in reversed(steps):
            try:
                restored = self._manager.restore(
                    candidate,
                    args=ocp.args.Composite(state=ocp.args.StandardRestore(like), progress=ocp.args.JsonRestore()),
                )
                return Checkpoint(candidate, restored["state"], restored["progress"])
            except Exception as error:
                cause = _cause(error)
                if not _tells_damage(cause):
                    raise CheckpointError(
                        f"the checkpoint of step {candidate} in {self.directory} cannot be read: {first_line(cause)}. It is "
                        "not known to be damaged and stays: try again, or delete it to go on from the one before it"
                    ) from error
                on_fallback(f"checkpoint of step {candidate} cannot be read ({first_line(cause)}); trying the one before it")
        if steps:
            raise CheckpointError(
                f"none of the checkpoints {steps} in {self.directory} can be read with this configuration: "
                "restore the directory from a copy, or start a new run directory"
            )
        return None

    def discard_after(self, step: int) -> None:
        """Deletes checkpoints newer than `step`: damaged ones, which a resumed run makes again."""
        for newer in [saved for saved in self.steps if saved > step]:
            self._manager.delete(newer)
        self._finished = sorted(self._manager.all_steps())

    def close(self) -> None:
        """Waits for the save under way and frees Orbax's threads. Raises CheckpointError where that save failed."""
        try:
            self.finish()
        finally:
            self._manager.close()

    def _not_saved(self, step: int, error: Exception) -> CheckpointError:
        left = f"The checkpoints of steps {self.steps} are intact." if self.steps else "No earlier checkpoint exists."
        return CheckpointError(
            f"could not save the checkpoint of step {step} in {self.directory}: {first_line(error)}. "
            f"{left} Free some space, then go on with --resume"
        )


def absolute(directory: epath.PathLike) -> epath.Path:
    """A path from the root of the file system on, or an address in a bucket as it is."""
    path = epath.Path(directory)
    return path if "://" in str(path) else epath.Path(os.path.abspath(path))


def finished_steps(directory: epath.PathLike) -> list[int]:
    """Steps with a finished checkpoint in `directory`, oldest first; for a process on its own, before the others join in."""
    folders = (path.name for path in ocp.utils.checkpoint_steps_paths(absolute(directory)))
    return sorted(int(name) for name in folders if name.isdecimal())


def first_line(error: BaseException) -> str:
    """What an error says first, or what it is; TensorStore names the reason only after all the paths that led to it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:600]


def _cause(error: BaseException) -> BaseException:
    """What an error was raised from in the end: Orbax says of an array which one it was, not what happened to it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _tells_damage(cause: BaseException) -> bool:
    """Whether reading failed for what is in the files, so that it will fail again; False where that is not known."""
    if isinstance(cause, FileNotFoundError | KeyError | json.JSONDecodeError | UnicodeDecodeError):
        return True
    return isinstance(cause, ValueError) and str(cause).startswith(_DAMAGE)
