"""The update on MaxText's decoder against the same update on ours (make test-maxtext; skipped without MaxText)."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from evo_jax import export, trainer
from evo_jax.advantages import compute_advantages
from evo_jax.config import Config, ConfigError, LearnerConfig, ObjectiveConfig, OptimizerConfig, PolicyConfig
from evo_jax.learner import Learner
from evo_jax.packing import pack
from evo_jax.policy.decoder import random_decoder
from evo_jax.policy.loading import load_policy
from evo_jax.policy.model_config import ModelConfig
from evo_jax.run_directory import RunDirectory
from tests.tiny_ring import get_config

pytest.importorskip("omegaconf", reason="MaxText is an extra: make test-maxtext")
pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
MESHES = ((2, 2, 2, 1), (1, 2, 2, 2))
MIXTURE_MESHES = ((1, 2, 1, 2, 2), (2, 1, 2, 1, 2))  # the last axis is that of the experts
TINY = ModelConfig("qwen3", 20, 2, 16, 24, 4, 2, 8, qk_norm=True, max_positions=64)
LLAMA = dataclasses.replace(TINY, family="llama", qk_norm=False, tied_embeddings=True)


def config_of(backend: str, objective: ObjectiveConfig, **policy) -> Config:
    return Config(
        policy=PolicyConfig(backend=backend, compute_dtype="float32", **policy),
        learner=LearnerConfig(row_tokens=32, rows_per_micro_batch=2),
        objective=objective,
        optimizer=OptimizerConfig(learning_rate=1e-2),
    )


def flat(params: nnx.State) -> dict[str, np.ndarray]:
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree_util.tree_flatten_with_path(params)[0]}


@pytest.mark.parametrize(("model", "remat"), [(TINY, "none"), (LLAMA, "full")], ids=["qwen3", "llama"])
def test_two_updates_equal_those_of_our_decoder(make_scored, model, remat):
    """Adam's steps in MaxText's layout are those in ours, with rows of its own and a reference policy."""
    objective = ObjectiveConfig(kl_estimator="k3", kl_weight=0.1)
    scored = make_scored([[1, 0, 0], [0, 1, 0.5]], lengths=[[5, 7, 9], [3, 1, 4]], prompt_lengths=[6, 9])
    decoder = random_decoder(model, jax.random.key(1))
    found = {}
    for backend in ("native", "maxtext"):
        config = config_of(backend, objective, remat=remat)
        packed = pack([compute_advantages(scored, objective)], config.learner, objective, share_prompts=backend == "native")
        learner = Learner(config, decoder)
        params = nnx.state(decoder)
        state, reference = learner.init(params), learner.reference_params(params)
        assert jax.tree.map(lambda x: x.shape, learner.abstract_state(params)) == jax.tree.map(lambda x: x.shape, state)
        metrics = []
        for _ in range(2):
            state, measured = learner.update(state, packed, reference)
            metrics.append(measured)
        found[backend] = flat(learner.policy_params(state.params)), metrics
    before = flat(nnx.state(decoder))
    assert max(np.abs(found["native"][0][name] - before[name]).max() for name in before) > 0.01
    for name, expected in found["native"][0].items():
        np.testing.assert_allclose(found["maxtext"][0][name], expected, atol=2e-5, rtol=0, err_msg=name)
    for measured, expected in zip(found["maxtext"][1], found["native"][1], strict=True):
        assert measured.keys() == expected.keys()
        for name in expected:
            np.testing.assert_allclose(measured[name], expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_rows_that_share_a_prompt_are_refused(make_scored):
    config = config_of("maxtext", ObjectiveConfig())
    packed = pack([compute_advantages(make_scored([[1, 0]]), config.objective)], config.learner, config.objective)
    decoder = random_decoder(TINY, jax.random.key(1))
    learner = Learner(config, decoder)
    with pytest.raises(ConfigError, match="share_prompts=False"):
        learner.update(learner.init(nnx.state(decoder)), packed)


def test_what_maxtext_runs_is_told():
    learner = Learner(config_of("maxtext", ObjectiveConfig()), random_decoder(TINY, jax.random.key(1)))
    assert learner.attention == "MaxText's dot_product"


def eight_devices(directory: Path, meshes: tuple[tuple[int, ...], ...], model: str) -> dict[tuple[int, ...], dict]:
    """What tests/evo_jax/eight_devices.py found with MaxText, by mesh."""
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.evo_jax.eight_devices", str(directory), "maxtext"]
    command += [json.dumps([(1, 1, 1, 1), *meshes]), model]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {tuple(entry["mesh"]): entry for entry in found}


@pytest.fixture(scope="module")
def on_meshes(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, ...], dict]:
    return eight_devices(tmp_path_factory.mktemp("checkpoints"), MESHES, "dense")


@pytest.mark.parametrize("mesh", MESHES)
def test_eight_devices_equal_one(on_meshes, mesh):
    found = on_meshes[mesh]
    assert found["largest_change"] > 0.05, "the step moved nothing: the comparison says nothing"
    for name in ("loss_difference", "gradient_difference", "parameter_difference", "scanned_difference"):
        assert found[name] < 1e-5, name
    # The engine samples from the same numbers in the plain decoder's layout.
    assert found["same_tokens"]
    assert found["logprob_difference"] < 1e-5


@pytest.mark.parametrize("mesh", MESHES)
def test_no_matrix_is_silently_replicated(on_meshes, mesh):
    """MaxText cuts matrices over fsdp, tensor and context, and norms over tensor."""
    _, fsdp, tensor, context = mesh
    for kind in ("parameters_cut_into", "gradients_cut_into", "restored_pieces"):
        vectors = {name for name in on_meshes[mesh][kind] if name.endswith("scale")}
        assert {on_meshes[mesh][kind][name] for name in on_meshes[mesh][kind].keys() - vectors} == {fsdp * tensor * context}
        assert {on_meshes[mesh][kind][name] for name in vectors} == {tensor}


@pytest.mark.parametrize("mesh", MESHES)
def test_a_checkpoint_of_one_mesh_is_restored_on_another(on_meshes, mesh):
    """Saved on one device and restored on the mesh, and the other way: bit for bit."""
    assert on_meshes[mesh]["restored_difference"] == on_meshes[(1, 1, 1, 1)]["restored_difference"] == 0
    assert on_meshes[mesh]["restored_alone_difference"] == 0


def test_a_mixture_is_cut_over_its_experts(tmp_path):
    """On eight devices, two of them along the experts, everything equals one device, and every matrix is cut."""
    found = eight_devices(tmp_path, MIXTURE_MESHES, "mixture")
    for mesh in MIXTURE_MESHES:
        assert found[mesh]["largest_change"] > 0.05, "the step moved nothing: the comparison says nothing"
        for name in ("loss_difference", "gradient_difference", "parameter_difference", "scanned_difference"):
            assert found[mesh][name] < 1e-5, (mesh, name)
        assert found[mesh]["restored_difference"] == found[mesh]["restored_alone_difference"] == 0
        for kind in ("parameters_cut_into", "gradients_cut_into", "restored_pieces"):
            matrices = {name: pieces for name, pieces in found[mesh][kind].items() if not name.endswith("scale")}
            assert {pieces for name, pieces in matrices.items() if "gate" not in name} == {8 // mesh[0]}, (mesh, kind)


def turn(backend: str, policy: Path, run_dir: Path, steps: int, *, resume: bool = False) -> list[dict[str, float]]:
    """The tiny ring without the outer half, and its metrics."""
    config = get_config()
    config.policy.path, config.policy.backend, config.run_dir = str(policy), backend, str(run_dir)
    config.steps, config.evolve.enabled = steps, False
    config.validate()
    with RunDirectory(config, resume=resume) as directory:
        assert trainer.run(config, directory.path, resume=resume) == 0
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def test_the_ring_turns_goes_on_from_a_checkpoint_and_is_exported(tiny_policy_path, tmp_path):
    run_dir = tmp_path / "maxtext"
    turn("maxtext", tiny_policy_path, run_dir, 1)
    found = turn("maxtext", tiny_policy_path, run_dir, 2, resume=True)
    expected = turn("native", tiny_policy_path, tmp_path / "native", 2)
    assert [line["step"] for line in found] == [0, 1, 2]
    # The first step is sampled from the same weights, and its update is the same one.
    for name, value in expected[1].items():
        np.testing.assert_allclose(found[1][name], value, rtol=1e-3, atol=1e-4, err_msg=name)
    # The engine samples from what the learner trained, in the plain decoder's layout.
    assert all(line["sampling/logprob_difference/max"] < 1e-3 for line in found[1:])
    exported = {}
    for backend in ("maxtext", "native"):
        output = tmp_path / f"{backend}-export"
        assert export.export(tmp_path / backend, output, step=1, dtype="float32") == 1
        exported[backend] = flat(nnx.state(load_policy(output, compute_dtype="float32").decoder))
    start = flat(nnx.state(load_policy(tiny_policy_path, compute_dtype="float32").decoder))
    assert max(np.abs(exported["native"][name] - start[name]).max() for name in start) > 1e-3
    for name, weight in exported["native"].items():
        np.testing.assert_allclose(exported["maxtext"][name], weight, atol=1e-4, rtol=0, err_msg=name)
