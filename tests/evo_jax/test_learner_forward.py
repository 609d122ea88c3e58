"""Tests of evo_jax/learner_forward.py: an update, the engine and a checkpoint on eight devices equal those on one."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from evo_jax.advantages import compute_advantages
from evo_jax.config import ConfigError, PolicyConfig
from evo_jax.learner import Learner
from evo_jax.learner_forward import describe_attention, forward_on
from evo_jax.learner_maxtext import MaxTextForward
from evo_jax.packing import pack
from evo_jax.policy.decoder import random_decoder
from evo_jax.sharding import make_mesh
from tests.evo_jax import cudnn_on_meshes
from tests.evo_jax.conftest import build_scored
from tests.evo_jax.eight_devices import CONFIG, MODEL, RATE, batches, flat, furthest
from tests.evo_jax.policy.cudnn_double import CudnnDouble

ROOT = Path(__file__).parents[2]
MESHES = ((8, 1, 1, 1), (1, 8, 1, 1), (1, 4, 2, 1), (2, 2, 2, 1), (1, 2, 2, 2))


def test_a_kernel_of_another_platform_is_refused() -> None:
    assert jax.default_backend() == "cpu"
    assert forward_on(make_mesh(), "auto").attention == "xla"
    with pytest.raises(ConfigError, match="TPU kernel"):
        forward_on(make_mesh(), "splash")
    with pytest.raises(ConfigError, match="NVIDIA GPUs, and this run is on cpu"):
        forward_on(make_mesh(), "cudnn")


def test_maxtext_refuses_cudnn_wherever_it_runs() -> None:
    with pytest.raises(ConfigError, match="MaxText's decoder"):
        MaxTextForward(
            PolicyConfig(backend="maxtext", attention="cudnn"), random_decoder(MODEL, jax.random.key(0)), make_mesh()
        )


def test_a_gpu_is_told_that_it_has_another_kernel() -> None:
    assert describe_attention("auto", "xla", make_mesh()) == "xla"
    gpu = SimpleNamespace(devices=np.array([SimpleNamespace(platform="gpu")]))  # a double of a mesh
    assert "policy.attention='cudnn'" in describe_attention("auto", "xla", gpu)
    assert describe_attention("xla", "xla", gpu) == "xla"


@pytest.mark.parametrize("share_prompts", [True, False])
def test_an_update_with_a_double_of_cudnn_equals_the_plain_one(monkeypatch: pytest.MonkeyPatch, share_prompts: bool) -> None:
    cudnn_on_meshes.use_cudnn(monkeypatch.setattr, CudnnDouble())
    scored = build_scored([[1, 0, 0], [0, 1, 1]], prompt_lengths=[9, 12], lengths=[[5, 1, 9], [12, 3, 4]])
    advantages = [compute_advantages(scored, CONFIG.objective)]
    packed = pack(advantages, CONFIG.learner, CONFIG.objective, share_prompts=share_prompts)
    decoder = random_decoder(MODEL, jax.random.key(0))
    loss, params = cudnn_on_meshes.step(cudnn_on_meshes.PLAIN_CONFIG, decoder, packed)
    found_loss, found = cudnn_on_meshes.step(cudnn_on_meshes.CUDNN_CONFIG, decoder, packed)
    assert abs(found_loss - loss) < 1e-5
    assert furthest(found, params) / RATE < 1e-5
    assert furthest(params, flat(nnx.state(decoder))) > 0.05, "the step moved nothing"


def test_the_planned_program_of_cudnn_is_that_of_rows_of_few_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    cudnn_on_meshes.use_cudnn(monkeypatch.setattr, CudnnDouble())
    learner = Learner(cudnn_on_meshes.CUDNN_CONFIG, random_decoder(MODEL, jax.random.key(0)))
    planned = learner.lower(nnx.state(random_decoder(MODEL, jax.random.key(0))), CONFIG.learner.row_tokens)["micro-step"]
    (micro, *_) = learner._micro_batches(batches(CONFIG), [{}])
    assert {name: x.shape for name, x in planned.in_avals[0][3].items()} == {name: x.shape for name, x in micro.items()}


def test_the_update_for_cuda_holds_the_calls_of_cudnn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lowered without a GPU, and run nowhere: two parts, forward twice for the recomputation, in one loop over the layers."""
    cudnn_on_meshes.use_cudnn(monkeypatch.setattr)
    decoder = random_decoder(replace(MODEL, head_size=8), jax.random.key(0), compute_dtype="bfloat16")
    policy = replace(cudnn_on_meshes.CUDNN_CONFIG.policy, compute_dtype="bfloat16", scan_layers=True)
    learner = Learner(replace(CONFIG, policy=policy), decoder)
    (micro, *_) = learner._micro_batches(batches(CONFIG), [{}])
    state = learner.abstract_state(nnx.state(decoder))
    arguments = (learner._zeros(learner.init(nnx.state(decoder)).params), state.params, learner._frozen, micro)
    traced = learner._micro_step.trace(*arguments, jnp.ones(2), jnp.float32(0))
    program = traced.lower(lowering_platforms=("cuda",)).as_text()
    rows = CONFIG.learner.rows_per_micro_batch
    assert program.count("custom_call @__cudnn$fmhaSoftmax(") == 2 * 2 * rows
    assert program.count("custom_call @__cudnn$fmhaSoftmaxBackward(") == 2 * rows


@pytest.mark.slow
def test_a_double_of_cudnn_on_eight_devices_equals_the_plain_attention_on_one() -> None:
    """Rows and heads cut, and the queries of a row over two and four devices."""
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.evo_jax.cudnn_on_meshes"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [tuple(entry["mesh"]) for entry in found] == list(cudnn_on_meshes.MESHES)
    for entry in found:
        assert entry["loss_difference"] < 1e-5
        assert entry["gradient_difference"] < 1e-5


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
