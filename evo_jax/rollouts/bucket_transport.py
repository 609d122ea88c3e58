"""Versions of a policy through a bucket, for servers that share no file system with the run.

The run copies a version into the bucket whole; of the ones after it goes what differs from that one, until this is more than
half as long. A version's manifest (sizes and SHA-256 of its files) is written last. Beside each server a fetcher
(`evo_jax.fetch_weights`) makes the version's directory there, held to the manifest; one that has not got the whole version
fetches it first. Any path that etils' epath knows is a bucket: gs:// with requirements-bucket.txt, a directory in tests. Left
out: credentials, which are the library's.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from etils import epath
from flax import nnx

from evo_jax.rollouts.protocol import RolloutError
from evo_jax.rollouts.weight_delta import DeltaError, apply_delta, make_delta
from evo_jax.rollouts.weight_transport import DirectoryTransport, PublishedWeights

MANIFEST = "manifest.json"
DELTA_SUFFIX = ".delta"
LARGEST_DELTA = 0.5  # of the file's length; beyond that a version goes whole
CHUNK_BYTES = 8 * 2**20


class BucketTransport:
    """A `WeightTransport` that hands on, through `bucket`, what `local` publishes."""

    def __init__(self, local: DirectoryTransport, bucket: epath.PathLike) -> None:
        """Raises RolloutError for a bucket that can't be written."""
        self._local = local
        self._root = epath.Path(bucket) / local.root.name
        self._whole: PublishedWeights | None = None  # the last version that went whole
        self._kept = local.root / "whole"  # its files, for as long as deltas are made from it
        try:
            self._root.mkdir(parents=True, exist_ok=True)
        except Exception as error:  # whatever the bucket's library raises
            raise RolloutError(f"sglang.weights_dir={str(bucket)!r} can't be written: {error}") from error

    def publish(self, params: nnx.State, version: int) -> PublishedWeights:
        """Write version `version` here, and to the bucket what is new in it; see `WeightTransport.publish`."""
        weights = self._local.publish(params, version)
        weights = dataclasses.replace(weights, source=str(self._root / weights.directory.name))
        try:
            target = self._root / weights.directory.name
            if target.exists():
                target.rmtree()
            target.mkdir(parents=True)
            deltas = self._deltas(weights)
            files = {path.name: _copy_up(path, target, deltas.get(path.name)) for path in sorted(weights.directory.iterdir())}
            whole = self._whole.source if deltas and self._whole is not None else ""
            (target / MANIFEST).write_text(json.dumps({"whole": whole, "files": files}))
            if not deltas:
                self._keep(weights)
        except Exception as error:
            raise RolloutError(f"{weights.source}: the weights can't be copied into the bucket: {error}") from error
        return weights

    def retire(self, current: PublishedWeights) -> None:
        """Delete every version but `current`, here and in the bucket, and the whole one that it is made from."""
        self._local.retire(current)
        needed = {weights.directory.name for weights in (current, self._whole) if weights is not None}
        for target in self._root.iterdir():
            if target.name not in needed:
                target.rmtree()

    def close(self) -> None:
        """Delete all versions and where they were."""
        self._local.close()
        if self._root.exists():
            self._root.rmtree()

    def _deltas(self, weights: PublishedWeights) -> dict[str, bytes]:
        """What differs, by file of weights, from the last whole version; nothing when that is too much."""
        deltas = {}
        for path in weights.directory.glob("*.safetensors") if self._whole is not None else ():
            try:
                delta = make_delta(self._kept / path.name, path)
            except (DeltaError, OSError):
                return {}
            if len(delta) > LARGEST_DELTA * path.stat().st_size:
                return {}
            deltas[path.name] = delta
        return deltas

    def _keep(self, weights: PublishedWeights) -> None:
        shutil.rmtree(self._kept, ignore_errors=True)
        self._kept.mkdir()
        for path in weights.directory.glob("*.safetensors"):
            os.link(path, self._kept / path.name)
        self._whole = weights


def fetch(source: str, parent: Path) -> tuple[Path, Path]:
    """The version at `source` in a directory under `parent`, which appears whole or not at all, and that of the whole version
    it is made from, the same where it went whole itself.

    Raises RolloutError for a version that is not (or no longer) there whole, and for one that does not come out as it was
    published.
    """
    target = parent / f"version-{hashlib.sha256(source.encode()).hexdigest()[:16]}"
    remote = epath.Path(source)
    try:
        manifest = json.loads((remote / MANIFEST).read_text())
        whole = fetch(manifest["whole"], parent)[0] if manifest["whole"] else None
        if target.exists():
            return target, whole or target
        parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".fetching-", dir=parent))
        try:
            for name, expected in manifest["files"].items():
                _copy_down(remote, Path(name).name, scratch, whole if expected["is_delta"] else None)
                with (scratch / Path(name).name).open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != expected["sha256"]:
                        raise RolloutError(f"{remote / name} is not what was published")
            scratch.chmod(0o755)
            os.replace(scratch, target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except RolloutError:
        raise
    except Exception as error:
        raise RolloutError(f"{source}: the weights can't be fetched: {error}") from error
    return target, whole or target


def _copy_up(path: Path, target: epath.Path, delta: bytes | None) -> dict[str, object]:
    """Writes a file, or what changed in it, into the bucket; its line in the manifest."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if delta is not None:
        (target / f"{path.name}{DELTA_SUFFIX}").write_bytes(delta)
    else:
        with path.open("rb") as file, (target / path.name).open("wb") as copy:
            shutil.copyfileobj(file, copy, CHUNK_BYTES)
    return {"sha256": digest, "bytes": path.stat().st_size, "is_delta": delta is not None}


def _copy_down(remote: epath.Path, name: str, scratch: Path, whole: Path | None) -> None:
    if whole is not None:
        apply_delta((remote / f"{name}{DELTA_SUFFIX}").read_bytes(), whole / name, scratch / name)
        return
    with (remote / name).open("rb") as file, (scratch / name).open("wb") as copy:
        shutil.copyfileobj(file, copy, CHUNK_BYTES)
