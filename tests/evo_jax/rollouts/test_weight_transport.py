"""Tests of evo_jax/rollouts/weight_transport.py."""

import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from evo_jax.policy.decoder import Decoder, flat_parameters
from evo_jax.policy.huggingface import tensor_name
from evo_jax.policy.loading import load_policy
from evo_jax.rollouts.protocol import RolloutError
from evo_jax.rollouts.weight_transport import DirectoryTransport, check_names, stored_tensors
from tests.evo_jax.rollouts.tiny_policy import TINY, byte_tokenizer


def transport(parent: Path, dtype: str = "float32") -> DirectoryTransport:
    return DirectoryTransport(TINY, byte_tokenizer(), dtype=dtype, parent=parent)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_version_reads_back_as_the_policy(decoder: Decoder, tmp_path: Path, dtype: str) -> None:
    params = nnx.state(decoder)
    published = transport(tmp_path, dtype).publish(params, 3)
    assert published.version == 3
    assert published.directory.is_dir()
    loaded = nnx.state(load_policy(published.directory, param_dtype="float32").decoder)
    for (path, wanted), (_, found) in zip(flat_parameters(params), flat_parameters(loaded), strict=True):
        expected = np.asarray(wanted[...].astype(dtype), np.float32)
        np.testing.assert_array_equal(np.asarray(found[...], np.float32), expected)
        stored = published.tensors[tensor_name(path)]
        whole = stored.read().astype(np.float32)
        np.testing.assert_array_equal(whole.T if path[-1] == "weight" else whole, expected)
        np.testing.assert_array_equal(stored.read(2), whole[:2])


def test_old_versions_go_when_told_and_all_at_the_end(decoder: Decoder, tmp_path: Path) -> None:
    ours, params = transport(tmp_path), nnx.state(decoder)
    published = [ours.publish(params, version) for version in (0, 1, 2)]
    assert all(weights.directory.is_dir() for weights in published)
    ours.retire(published[2])
    assert [weights.directory.exists() for weights in published] == [False, False, True]
    ours.close()
    assert list(tmp_path.iterdir()) == []


def test_versions_of_two_runs_have_different_labels(decoder: Decoder, tmp_path: Path) -> None:
    params = nnx.state(decoder)
    first, second = (transport(tmp_path).publish(params, 7) for _ in range(2))
    assert first.label != second.label


def test_a_file_cut_short_is_noticed_before_any_server_hears_of_it(decoder: Decoder, tmp_path: Path) -> None:
    published = transport(tmp_path).publish(nnx.state(decoder), 0)
    file = published.directory / "model.safetensors"
    for size in (file.stat().st_size - 1, 12):
        os.truncate(file, size)
        with pytest.raises(RolloutError, match=r"model\.safetensors"):
            stored_tensors(published.directory)


def test_a_misnamed_tensor_is_named(decoder: Decoder, tmp_path: Path) -> None:
    tensors = dict(transport(tmp_path).publish(nnx.state(decoder), 0).tensors)
    expected = set(tensors)
    tensors["model.norm.wight"] = tensors.pop("model.norm.weight")
    with pytest.raises(RolloutError, match=r"model\.norm\.weight.*model\.norm\.wight"):
        check_names(tensors, expected, tmp_path)


def test_what_a_killed_run_left_is_removed_and_what_a_live_one_holds_is_not(decoder: Decoder, tmp_path: Path) -> None:
    alive = transport(tmp_path)
    alive.publish(nnx.state(decoder), 0)
    code = (
        "import os, pathlib, sys; from evo_jax.rollouts.weight_transport import DirectoryTransport as T;"
        "print(T(None, None, dtype='float32', parent=pathlib.Path(sys.argv[1])).root, flush=True); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120)
    left = Path(done.stdout.strip())
    assert left.is_dir()
    transport(tmp_path)
    assert not left.exists()
    assert (alive.root / "version-0").is_dir()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RolloutError, match=r"sglang\.weights_dir"):
        transport(tmp_path / "file")


def test_bfloat16_is_half_as_long(decoder: Decoder, tmp_path: Path) -> None:
    params = nnx.state(decoder)
    sizes = [
        sum(tensor.read().nbytes for tensor in transport(tmp_path, dtype).publish(params, 0).tensors.values())
        for dtype in ("float32", "bfloat16")
    ]
    assert sizes[0] == 2 * sizes[1] == 2 * jnp.dtype("bfloat16").itemsize * sum(v[...].size for _, v in flat_parameters(params))
