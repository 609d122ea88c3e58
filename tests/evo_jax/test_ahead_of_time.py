"""Tests of evo_jax/ahead_of_time.py and chips.py: a small slice compiled by the real TPU compiler."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from evo_jax.ahead_of_time import describe_topology, slice_devices
from evo_jax.chips import chip_of
from evo_jax.config import Config, ConfigError
from evo_jax.policy.model_config import ModelConfig, to_huggingface
from evo_jax.roofline import SliceReport

ROOT = Path(__file__).parents[2]
MODEL = ModelConfig("qwen3", 2048, 2, 512, 1024, 8, 4, 128, qk_norm=True, tied_embeddings=True, max_positions=4096)
needs_compiler = pytest.mark.skipif(find_spec("libtpu") is None, reason="libtpu is not installed: make test-tpu-compiler")


def small_config(model: Path) -> Config:
    config = Config(run_dir="runs/compiled")
    config.policy.path, config.policy.remat, config.policy.scan_layers = str(model), "full", True
    config.mesh.fsdp, config.mesh.tensor, config.mesh.context = -1, 2, 2
    config.learner.row_tokens, config.learner.rows_per_micro_batch = 1024, 2
    config.rollout.max_prompt_tokens = config.rollout.max_completion_tokens = 256
    return config


@pytest.fixture(scope="module")
def model_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config.json and nothing else: no weights, no tokenizer."""
    directory = tmp_path_factory.mktemp("model")
    (directory / "config.json").write_text(json.dumps(to_huggingface(MODEL, dtype="bfloat16")))
    return directory


def test_a_slice_is_generation_and_shape() -> None:
    assert chip_of("v5p:4x4x4").flops == 459e12
    assert chip_of("v5e:16x16").send_bytes_s == 200e9
    for wrong in ("v5p", "v5p:", "v5p:64", "v99:2x2", "v5e:2x2x2x2", "v5e:axb"):
        with pytest.raises(ConfigError, match="v5e:16x16 or v5p:4x4x4"):
            chip_of(wrong)


@pytest.mark.skipif(find_spec("libtpu") is not None, reason="libtpu is installed here")
def test_without_the_compiler_it_is_said_how_to_get_it(model_directory: Path) -> None:
    with pytest.raises(ConfigError, match="make tpu-compiler"):
        describe_topology(small_config(model_directory), "v5e:2x4")


def test_the_flag_goes_with_a_dry_run() -> None:
    command = [sys.executable, "-m", "evo_jax.train", "--config=configs/quickstart.py", "--topology=v5e:2x4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "goes with --dry_run" in done.stderr


@pytest.fixture(scope="module")
def compiled(model_directory: Path) -> tuple[SliceReport, str]:
    """The report on eight v5e chips, and what was said."""
    said: list[str] = []
    report = describe_topology(small_config(model_directory), "v5e:2x4", said.append)
    return report, "\n".join(said)


@pytest.mark.slow
@needs_compiler
def test_the_update_and_the_engine_compile_for_a_slice(compiled: tuple[SliceReport, str]) -> None:
    report, said = compiled
    assert set(report.programs) == {"micro-step", "optimizer step", "prefill", "decode"}
    assert all(name in said for name in ("8 devices (TPU v5 lite)", "fits", "tokens/s", "MFU"))
    # float32 parameters and gradients cut into four, and the norms whole
    assert report.programs["micro-step"].arguments == pytest.approx(2 * 4 * MODEL.parameter_count / 4, rel=0.05)
    assert report.state_bytes == pytest.approx(3 * 4 * MODEL.parameter_count / 4, rel=0.05)


@pytest.mark.slow
@needs_compiler
def test_the_update_runs_the_splash_kernels_and_gathers_no_layer_outside_its_loop(compiled: tuple[SliceReport, str]) -> None:
    step = compiled[0].programs["micro-step"]
    kernels = " ".join(step.kernels)
    assert all(name in kernels for name in ("splash_mha_fwd", "splash_mha_dkv", "splash_mha_dq"))
    # The LM head's own, in bfloat16 and cut over tensor, and its rows' hidden states over context.
    assert all(source.endswith("shard_map/all_gather") for _, source in step.gathers)
    assert max(size for size, _ in step.gathers) == 2048 * 512 * 2 / 2
    assert 0 < step.largest_inner_gather <= 512 * 1024 * 2
    assert "reduce-scatter" in step.sent


@pytest.mark.slow
@needs_compiler
def test_decoding_gathers_no_weights(compiled: tuple[SliceReport, str]) -> None:
    decode = compiled[0].programs["decode"]
    assert decode.open_loops == 1
    assert decode.gathers == []
    assert decode.largest_inner_gather < 512 * 512 * 2


@pytest.mark.slow
@needs_compiler
def test_decoding_copies_no_cache(compiled: tuple[SliceReport, str]) -> None:
    report = compiled[0]
    caches = report.programs["decode"].arguments - report.engine_bytes
    assert report.programs["decode"].copied < caches / 4


@pytest.mark.slow
@needs_compiler
def test_moments_wait_in_the_hosts_memory_until_the_optimizer_step(model_directory: Path) -> None:
    config, said = small_config(model_directory), []
    config.optimizer.moments_memory, config.optimizer.moments_dtype = "host", "bfloat16"
    report = describe_topology(config, "v5e:2x4", said.append, wanted=["optimizer step"])
    step, cut = report.programs["optimizer step"], MODEL.parameter_count / 4
    assert step.on_host == pytest.approx(2 * 2 * cut, rel=0.05)
    # parameters and gradients, both float32
    assert step.arguments == pytest.approx(2 * 4 * cut, rel=0.05)
    assert report.state_bytes == pytest.approx(4 * cut, rel=0.05)
    assert "in the hosts' memory" in "".join(said)


@pytest.mark.slow
@needs_compiler
def test_a_slice_that_nobody_builds_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"has no such slice .*not divisible"):
        slice_devices("v5e:3x5")
