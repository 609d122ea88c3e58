"""Versions of a policy through a bucket, for servers that share no file system with the run.

The run copies every version into the bucket, its manifest (sizes and SHA-256 of its files) last; beside each server a fetcher
(`evo_jax.fetch_weights`) brings it to a directory there, holding it to the manifest. Any path that etils' epath knows
is a bucket: gs:// with gcsfs installed, a directory in tests. Left out: deltas between versions (docs/results.md has why),
credentials, which are the library's.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO

from etils import epath
from flax import nnx

from evo_jax.rollouts.protocol import RolloutError
from evo_jax.rollouts.weight_transport import DirectoryTransport, PublishedWeights

MANIFEST = "manifest.json"
CHUNK_BYTES = 8 * 2**20


class BucketTransport:
    """A `WeightTransport` that hands on, through `bucket`, what `local` publishes."""

    def __init__(self, local: DirectoryTransport, bucket: epath.PathLike) -> None:
        """Raises RolloutError for a bucket that can't be written."""
        self._local = local
        self._root = epath.Path(bucket) / local.root.name
        try:
            self._root.mkdir(parents=True, exist_ok=True)
        except Exception as error:  # whatever the bucket's library raises
            raise RolloutError(f"sglang.weights_dir={str(bucket)!r} can't be written: {error}") from error

    def publish(self, params: nnx.State, version: int) -> PublishedWeights:
        """Write version `version` here and copy it; see `WeightTransport.publish`."""
        weights = self._local.publish(params, version)
        target = self._root / weights.directory.name
        try:
            if target.exists():
                target.rmtree()
            target.mkdir(parents=True)
            manifest = {}
            for path in sorted(weights.directory.iterdir()):
                with path.open("rb") as source, (target / path.name).open("wb") as copy:
                    manifest[path.name] = {"sha256": _copy(source, copy), "bytes": path.stat().st_size}
            (target / MANIFEST).write_text(json.dumps(manifest))
        except Exception as error:
            raise RolloutError(f"{target}: the weights can't be copied into the bucket: {error}") from error
        return dataclasses.replace(weights, source=str(target))

    def retire(self, current: PublishedWeights) -> None:
        """Delete every version but `current`, here and in the bucket."""
        self._local.retire(current)
        for target in self._root.iterdir():
            if target.name != current.directory.name:
                target.rmtree()

    def close(self) -> None:
        """Delete all versions and where they were."""
        self._local.close()
        if self._root.exists():
            self._root.rmtree()


def fetch(source: str, parent: Path) -> Path:
    """The version at `source` in a new directory under `parent`, which appears whole or not at all.

    Raises RolloutError for a version that is not (or no longer) there whole, and for a copy that is not what was published.
    """
    remote = epath.Path(source)
    try:
        manifest = json.loads((remote / MANIFEST).read_text())
        parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".fetching-", dir=parent))
        try:
            for name, expected in manifest.items():
                with (remote / name).open("rb") as file, (scratch / Path(name).name).open("wb") as copy:
                    digest = _copy(file, copy)
                if digest != expected["sha256"]:
                    raise RolloutError(f"{remote / name} is not what was published")
            scratch.chmod(0o755)
            target = Path(tempfile.mkdtemp(prefix="version-", dir=parent))
            os.replace(scratch, target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except RolloutError:
        raise
    except Exception as error:
        raise RolloutError(f"{source}: the weights can't be fetched: {error}") from error
    return target


def _copy(source: BinaryIO, target: BinaryIO) -> str:
    """Copies all, and returns its SHA-256."""
    digest = hashlib.sha256()
    while chunk := source.read(CHUNK_BYTES):
        digest.update(chunk)
        target.write(chunk)
    return digest.hexdigest()
