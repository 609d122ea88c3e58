"""Tests of evo_jax/learner_forward.py: an update, the engine and a checkpoint on eight devices equal those on one."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from evo_jax.config import ConfigError
from evo_jax.learner_forward import forward_on
from evo_jax.sharding import make_mesh

ROOT = Path(__file__).parents[2]
MESHES = ((8, 1, 1, 1), (1, 8, 1, 1), (1, 4, 2, 1), (2, 2, 2, 1), (1, 2, 2, 2))


def test_a_kernel_of_another_platform_is_refused() -> None:
    assert jax.default_backend() == "cpu"
    assert forward_on(make_mesh(), "auto").attention == "xla"
    with pytest.raises(ConfigError, match="TPU kernel"):
        forward_on(make_mesh(), "splash")


@pytest.fixture(scope="module")
def on_meshes(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, ...], dict]:
    """What tests/evo_jax/eight_devices.py found, by mesh."""
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.evo_jax.eight_devices", str(tmp_path_factory.mktemp("checkpoints"))]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {tuple(entry["mesh"]): entry for entry in found}


@pytest.mark.slow
@pytest.mark.parametrize("mesh", MESHES)
def test_eight_devices_equal_one(on_meshes: dict[tuple[int, ...], dict], mesh: tuple[int, ...]) -> None:
    found = on_meshes[mesh]
    assert found["largest_change"] > 0.05, "the step moved nothing: the comparison says nothing"
    assert found["loss_difference"] < 1e-5
    assert found["gradient_difference"] < 1e-5
    assert found["parameter_difference"] < 1e-5
    assert found["scanned_difference"] < 1e-5
    print(f"mesh {mesh}: collectives (runs, bytes sent) of a micro-step: {found['collectives']}")


@pytest.mark.slow
@pytest.mark.parametrize("mesh", MESHES)
def test_nothing_is_silently_replicated(on_meshes: dict[tuple[int, ...], dict], mesh: tuple[int, ...]) -> None:
    """As compiled: every matrix is cut over fsdp and tensor, in the parameters and in their gradients."""
    found = on_meshes[mesh]
    pieces = mesh[1] * mesh[2]
    for kind in ("parameters_cut_into", "gradients_cut_into", "restored_pieces"):
        vectors = {name for name in found[kind] if name.endswith("scale")}
        assert {found[kind][name] for name in found[kind].keys() - vectors} == {pieces}, kind
        assert {found[kind][name] for name in vectors} == {1}
    # The products are shared out over all eight devices, but for the lookup of a prompt's few columns.
    assert found["product_flops"] < on_meshes[1, 1, 1, 1]["product_flops"]


@pytest.mark.slow
def test_collectives_are_those_the_mesh_needs(on_meshes: dict[tuple[int, ...], dict]) -> None:
    assert on_meshes[1, 1, 1, 1]["collectives"] == {}
    copies = on_meshes[8, 1, 1, 1]["collectives"]
    assert copies.keys() == {"all-reduce"}, "whole copies of the parameters only add up their gradients"
    for mesh in MESHES[1:]:
        assert on_meshes[mesh]["collectives"]["all-gather"][0] > 0
        assert all(math.isfinite(sent) and sent > 0 for _, sent in on_meshes[mesh]["collectives"].values())


@pytest.mark.slow
@pytest.mark.parametrize("mesh", MESHES)
def test_weights_go_from_a_cut_learner_to_the_engine(on_meshes: dict[tuple[int, ...], dict], mesh: tuple[int, ...]) -> None:
    assert on_meshes[mesh]["same_tokens"]
    assert on_meshes[mesh]["logprob_difference"] < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("mesh", MESHES)
def test_a_checkpoint_moves_between_meshes(on_meshes: dict[tuple[int, ...], dict], mesh: tuple[int, ...]) -> None:
    assert on_meshes[mesh]["restored_difference"] == 0.0, "written on one device, restored on the mesh"
    assert on_meshes[mesh]["restored_alone_difference"] == 0.0, "written on the mesh, restored on one device"
