"""Tests of evo_jax/rollouts/bucket_transport.py; the bucket is a directory under etils' paths."""

import json
import shutil
from pathlib import Path

import jax
import pytest
from flax import nnx

from evo_jax.policy.decoder import Decoder
from evo_jax.rollouts.bucket_transport import MANIFEST, BucketTransport, fetch
from evo_jax.rollouts.protocol import RolloutError
from evo_jax.rollouts.weight_transport import DirectoryTransport, stored_tensors
from tests.evo_jax.rollouts.tiny_policy import TINY, byte_tokenizer


def transport(scratch: Path) -> BucketTransport:
    local = DirectoryTransport(TINY, byte_tokenizer(), dtype="bfloat16", parent=scratch / "local")
    return BucketTransport(local, scratch / "bucket")


def test_what_is_fetched_is_what_was_published(decoder: Decoder, tmp_path: Path) -> None:
    published = transport(tmp_path).publish(nnx.state(decoder), 4)
    assert published.model_path.startswith(str(tmp_path / "bucket"))
    fetched, whole = fetch(published.model_path, tmp_path / "far")
    assert fetched == whole
    assert fetched.parent == tmp_path / "far"
    names = sorted(path.name for path in published.directory.iterdir())
    assert sorted(path.name for path in fetched.iterdir()) == names
    assert all((fetched / name).read_bytes() == (published.directory / name).read_bytes() for name in names)
    assert stored_tensors(fetched).keys() == published.tensors.keys()


def moved(params: nnx.State, step: float) -> nnx.State:
    return jax.tree.map(lambda value: value + step * jax.random.normal(jax.random.key(1), value.shape), params)


def test_small_steps_go_as_what_changed_and_come_out_as_published(decoder: Decoder, tmp_path: Path) -> None:
    ours, params = transport(tmp_path), nnx.state(decoder)
    first, second, third = (ours.publish(moved(params, step), n) for n, step in enumerate((0.0, 1e-5, 2e-5)))
    for weights in (second, third):
        assert not (Path(weights.source) / "model.safetensors").exists()
        delta = (Path(weights.source) / "model.safetensors.delta").stat().st_size
        assert delta < 0.2 * (weights.directory / "model.safetensors").stat().st_size
    # One that comes late fetches the whole version first.
    fetched, whole = fetch(third.source, tmp_path / "far")
    assert (fetched / "model.safetensors").read_bytes() == (third.directory / "model.safetensors").read_bytes()
    assert (whole / "model.safetensors").read_bytes() == (first.directory / "model.safetensors").read_bytes()
    # What deltas are made from stays until a version goes whole again.
    ours.retire(third)
    assert [Path(weights.source).exists() for weights in (first, second, third)] == [True, False, True]
    far = ours.publish(moved(params, 1.0), 3)
    assert (Path(far.source) / "model.safetensors").exists()
    ours.retire(far)
    assert [Path(weights.source).exists() for weights in (first, third, far)] == [False, False, True]
    late = ours.publish(moved(params, 1.0 + 1e-5), 4)
    shutil.rmtree(tmp_path / "far")
    fetched, whole = fetch(late.source, tmp_path / "far")
    assert (fetched / "model.safetensors").read_bytes() == (late.directory / "model.safetensors").read_bytes()
    # A whole version that was damaged on the way is found by what comes out.
    with (whole / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"?")
    shutil.rmtree(fetched)
    with pytest.raises(RolloutError, match="not what was published"):
        fetch(late.source, tmp_path / "far")
    ours.close()


def test_old_versions_go_when_told_and_all_at_the_end(decoder: Decoder, tmp_path: Path) -> None:
    ours = transport(tmp_path)
    published = [ours.publish(moved(nnx.state(decoder), float(version)), version) for version in (0, 1)]
    assert all(Path(weights.source).is_dir() and weights.directory.is_dir() for weights in published)
    ours.retire(published[1])
    assert [Path(weights.source).exists() for weights in published] == [False, True]
    assert [weights.directory.exists() for weights in published] == [False, True]
    ours.close()
    assert list((tmp_path / "bucket").iterdir()) == list((tmp_path / "local").iterdir()) == []


def test_a_version_that_is_not_whole_or_not_what_was_published_is_not_fetched(decoder: Decoder, tmp_path: Path) -> None:
    published = transport(tmp_path).publish(nnx.state(decoder), 0)
    source = Path(published.source)
    file = source / "model.safetensors"
    sound = file.read_bytes()
    file.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    with pytest.raises(RolloutError, match=r"model\.safetensors is not what was published"):
        fetch(published.source, tmp_path / "far")
    file.unlink()
    with pytest.raises(RolloutError, match="can't be fetched"):
        fetch(published.source, tmp_path / "far")
    (source / MANIFEST).unlink()  # as it is while a version is being copied
    with pytest.raises(RolloutError, match="can't be fetched"):
        fetch(published.source, tmp_path / "far")
    assert list((tmp_path / "far").iterdir()) == []


def test_a_manifest_can_not_write_elsewhere(tmp_path: Path) -> None:
    source = tmp_path / "bucket" / "version-0"
    source.mkdir(parents=True)
    (tmp_path / "bucket" / "outside").write_text("text")
    digest = "982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1"
    (source / "outside").write_text("text")
    files = {"../outside": {"sha256": digest, "bytes": 4, "is_delta": False}}
    (source / MANIFEST).write_text(json.dumps({"whole": "", "files": files}))
    fetched, _ = fetch(str(source), tmp_path / "far")
    assert [path.name for path in fetched.iterdir()] == ["outside"]
    assert [path.name for path in (tmp_path / "far").iterdir()] == [fetched.name]


def test_a_bucket_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "bucket").write_text("")
    with pytest.raises(RolloutError, match=r"sglang\.weights_dir.*bucket"):
        transport(tmp_path)
