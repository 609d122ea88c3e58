"""How a policy's parameters reach servers in other processes: the `WeightTransport` protocol and its default, a directory.

`DirectoryTransport` writes every version as a Hugging Face directory of its own, one tensor at a time; it appears under its
name only when it is complete, is read back before any server hears of it, and is deleted when no server needs it any more.
Put it where all servers can read it: shared memory on one machine, a shared file system for several. Left out: telling the
servers (`sglang_weights.py`), buckets and what changed alone (`bucket_transport.py`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import jax.numpy as jnp
import numpy as np
from flax import nnx

from evo_jax.policy.decoder import flat_parameters
from evo_jax.policy.huggingface import tensor_name
from evo_jax.policy.huggingface_writing import save_huggingface
from evo_jax.policy.model_config import ModelConfig
from evo_jax.policy.tokenizer import Tokenizer
from evo_jax.rollouts.protocol import RolloutError

SHARED_MEMORY = Path("/dev/shm")
PREFIX = "evoenv-weights"
LOCK_FILE = ".lock"
# What a safetensors header calls them.
DTYPES: dict[str, np.dtype] = {"F32": np.dtype(np.float32), "F16": np.dtype(np.float16), "BF16": np.dtype(jnp.bfloat16)}


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor of a published version lies; products are stored [out, in]."""

    path: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int

    def read(self, rows: int | None = None) -> np.ndarray:
        """The tensor, or its first `rows` along the first axis."""
        shape = self.shape if rows is None else (min(rows, self.shape[0]), *self.shape[1:])
        count = int(np.prod(shape))
        return np.fromfile(self.path, np.uint8, count * self.dtype.itemsize, offset=self.offset).view(self.dtype).reshape(shape)


@dataclass(frozen=True)
class PublishedWeights:
    """One version, ready to be loaded. `label` names it among all versions of all runs: servers are asked for it by that
    name. `directory` holds it on this machine; `source` says where servers find it, if not there."""

    version: int
    label: str
    directory: Path
    tensors: Mapping[str, StoredTensor]
    source: str = ""

    @property
    def model_path(self) -> str:
        """What servers are told to load."""
        return self.source or str(self.directory)


class WeightTransport(Protocol):
    """Brings versions of a policy to where servers can load them."""

    def publish(self, params: nnx.State, version: int) -> PublishedWeights:
        """Make `params` loadable; earlier versions stay until `retire`. Raises RolloutError or PolicyError when that can't be
        done whole."""
        ...

    def retire(self, current: PublishedWeights) -> None:
        """No server needs any version but `current` any more."""
        ...

    def close(self) -> None:
        """Remove everything that was published."""
        ...


class DirectoryTransport:
    """A `WeightTransport` over one directory a version, in a directory of its own under `parent`."""

    def __init__(self, config: ModelConfig, tokenizer: Tokenizer, *, dtype: str, parent: Path | None = None) -> None:
        """`dtype` is how weights are stored, 'float32' or 'bfloat16'; `parent` defaults to shared memory, else the temporary
        directory. What runs that were killed left under `parent` is removed."""
        self._config, self._tokenizer, self._dtype = config, tokenizer, dtype
        parent = parent or (SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else Path(tempfile.gettempdir()))
        # Two runs that share a server must not take each other's version 3 for their own.
        self._run = uuid.uuid4().hex[:12]
        try:
            parent.mkdir(parents=True, exist_ok=True)
            _remove_left_behind(parent)
            self.root = parent.resolve() / f"{_own_prefix()}{self._run}"
            self.root.mkdir()
            self._lock = (self.root / LOCK_FILE).open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        except OSError as error:
            raise RolloutError(f"sglang.weights_dir={str(parent)!r} can't be written: {error.strerror}") from error

    def publish(self, params: nnx.State, version: int) -> PublishedWeights:
        """Write version `version` and read back what was written; see `WeightTransport.publish`."""
        directory = self.root / f"version-{version}"
        shutil.rmtree(directory, ignore_errors=True)
        save_huggingface(directory, self._config, params, self._tokenizer, dtype=self._dtype)
        tensors = stored_tensors(directory)
        check_names(tensors, {tensor_name(path) for path, _ in flat_parameters(params)}, directory)
        return PublishedWeights(version, f"{self._run}-{version}", directory, tensors)

    def retire(self, current: PublishedWeights) -> None:
        """Delete every version but `current`."""
        for directory in self.root.glob("version-*"):
            if directory != current.directory:
                shutil.rmtree(directory, ignore_errors=True)

    def close(self) -> None:
        """Delete the directory and all versions in it."""
        shutil.rmtree(self.root, ignore_errors=True)
        self._lock.close()


def stored_tensors(directory: Path) -> dict[str, StoredTensor]:
    """Every tensor in the safetensors files of `directory`. Raises RolloutError for a file that is not as long as it says."""
    tensors: dict[str, StoredTensor] = {}
    for path in sorted(directory.glob("*.safetensors")):
        try:
            with path.open("rb") as file:
                start = 8 + int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(start - 8))
            header.pop("__metadata__", None)
            size = path.stat().st_size
        except (OSError, ValueError) as error:
            raise RolloutError(f"{path}: the weights that were written can't be read back ({error})") from error
        if size != start + max((entry["data_offsets"][1] for entry in header.values()), default=0):
            raise RolloutError(f"{path}: the weights are cut short at {size} bytes; is the file system full?")
        for name, entry in header.items():
            offset = start + entry["data_offsets"][0]
            tensors[name] = StoredTensor(path, DTYPES[entry["dtype"]], tuple(entry["shape"]), offset)
    return tensors


def check_names(tensors: Mapping[str, StoredTensor], expected: set[str], directory: Path) -> None:
    """Raises RolloutError when a tensor is missing or misnamed: servers skip names they do not know, silently."""
    if tensors.keys() != expected:
        missing, extra = sorted(expected - tensors.keys()), sorted(tensors.keys() - expected)
        raise RolloutError(f"{directory}: not the policy's tensors (missing: {missing[:3]}, unknown: {extra[:3]})")


def _own_prefix() -> str:
    return f"{PREFIX}-{platform.node() or 'host'}-"


def _remove_left_behind(parent: Path) -> None:
    """Directories of runs on this machine whose lock nobody holds: a killed run can't clean up, and shared memory is memory."""
    for directory in parent.glob(f"{_own_prefix()}*"):
        with contextlib.suppress(OSError), (directory / LOCK_FILE).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory, ignore_errors=True)
