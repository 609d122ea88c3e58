"""Tests of evo_jax/ahead_of_time.py and chips.py: the arithmetic by hand, and a small slice compiled by the TPU compiler."""

import json
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import jax
import pytest

from evo_jax.ahead_of_time import (
    Program,
    SliceReport,
    describe_topology,
    kernel_flops,
    model_flops,
    phase_bytes,
    slice_devices,
)
from evo_jax.chips import CHIPS, chip_of
from evo_jax.compiled_costs import CompiledCosts, parameter_gathers
from evo_jax.config import Config, ConfigError
from evo_jax.policy.model_config import ModelConfig
from evo_jax.sharding import make_mesh

ROOT = Path(__file__).parents[2]
MODEL = ModelConfig("qwen3", 2048, 2, 512, 1024, 8, 4, 128, qk_norm=True, tied_embeddings=True, max_positions=4096)
NOTHING = CompiledCosts(0.0, (), Counter(), 0)
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
    from evo_jax.policy.model_config import to_huggingface

    directory = tmp_path_factory.mktemp("model")
    (directory / "config.json").write_text(json.dumps(to_huggingface(MODEL, dtype="bfloat16")))
    return directory


def report_of(mesh_shape: tuple[int, ...] = (1, 1, 1, 1)) -> SliceReport:
    config = Config()
    config.policy.remat, config.learner.row_tokens, config.learner.rows_per_micro_batch = "full", 1024, 2
    mesh = make_mesh(mesh_shape, [jax.devices()[0]] * 8)
    return SliceReport("v5e:2x4", CHIPS["v5e"], mesh, MODEL, config)


def program(name: str, arguments: int, kept: int, temporaries: int) -> Program:
    return Program(name, arguments, kept, kept, temporaries, NOTHING, 0.0)


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


def test_operations_of_a_token_by_hand() -> None:
    # a layer: q and output 512 x 1024, k and v 512 x 512, three of 512 x 1024, two norms of 512 and two of 128
    parameters = 2 * (2 * 512 * 1024 + 2 * 512 * 512 + 3 * 512 * 1024 + 2 * 512 + 2 * 128) + 2048 * 512 + 512
    # 6 products (2 forward, 4 backward) of two operations each over half of 1,024 keys, in 2 layers of 8 x 128
    assert model_flops(report_of()) == 6 * parameters + 6 * 2 * 8 * 128 * 1024


def test_operations_of_the_kernels_by_hand() -> None:
    # 2 + 2 products forward and again, 7 backward, each over half of the square, for 2 rows in 2 layers of 8 x 128
    whole = 11 * 8 * 128 * 1024**2 * 2 * 2
    assert kernel_flops(report_of()) == whole
    # Of four parts of a row the last sees 7/16 of its square; tensor and fsdp share out evenly.
    assert kernel_flops(report_of((1, 1, 2, 4))) == whole / 2 * 7 / 16
    assert kernel_flops(report_of((1, 2, 1, 1))) == whole / 2
    report = report_of()
    report.config.policy.remat = "none"
    assert kernel_flops(report) == whole * 9 / 11


def test_what_waits_beside_a_program_is_counted() -> None:
    report = report_of()
    report.state_bytes, report.trained_bytes, report.engine_bytes = 30.0, 10.0, 5.0
    report.programs = {
        "micro-step": program("micro-step", 20, 0, 7),  # 10 of parameters, 10 of gradients
        "optimizer step": program("optimizer step", 40, 0, 1),  # the state and the gradients
        "prefill": program("prefill", 5, 2, 3),
        "decode": program("decode", 5 + 4, 0, 1),  # weights and caches
    }
    expected = {"micro-step": 30 + 10 + 7 + 5, "optimizer step": 40 + 1 + 5, "prefill": 30 + 4 + 10, "decode": 30 + 10}
    assert phase_bytes(report) == expected
    report.config.rollout.max_staleness_steps = 1
    # sampling beside the update adds its caches and whichever program holds more: 4 + 10 - 5 of the prefill's
    assert phase_bytes(report) == expected | {"micro-step": 52 + 9, "optimizer step": 46 + 9}


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
    # float32 parameters and gradients cut into eight, and the norms whole
    assert report.programs["micro-step"].arguments == pytest.approx(2 * 4 * MODEL.parameter_count / 8, rel=0.05)
    assert report.state_bytes == pytest.approx(3 * 4 * MODEL.parameter_count / 8, rel=0.05)


@pytest.mark.slow
@needs_compiler
def test_the_update_runs_the_splash_kernels_and_gathers_no_layer_outside_its_loop(compiled: tuple[SliceReport, str]) -> None:
    costs = compiled[0].programs["micro-step"].costs
    kernels = " ".join(costs.kernels)
    assert all(name in kernels for name in ("splash_mha_fwd", "splash_mha_dkv", "splash_mha_dq"))
    outside = parameter_gathers(costs, 2 * 512 * 512)
    # The LM head's own, in bfloat16 and cut over tensor, and its rows' hidden states over context.
    assert all(gather.source.endswith("shard_map/all_gather") for gather in outside)
    assert max(gather.result_bytes for gather in outside) == 2048 * 512 * 2 / 2
    inside = [one for one in costs.collectives if one.kind == "all-gather" and one.in_loop]
    assert max(one.result_bytes for one in inside) <= 512 * 1024 * 2
    assert "reduce-scatter" in costs.by_kind()


@pytest.mark.slow
@needs_compiler
def test_decoding_gathers_no_weights(compiled: tuple[SliceReport, str]) -> None:
    costs = compiled[0].programs["decode"].costs
    assert costs.open_loops == 1
    gathers = [one.result_bytes for one in costs.collectives if one.kind == "all-gather"]
    assert max(gathers, default=0) < 512 * 512 * 2


@pytest.mark.slow
@needs_compiler
def test_a_slice_that_nobody_builds_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"has no such slice .*not divisible"):
        slice_devices("v5e:3x5")
