"""Tests of evo_jax/roofline.py: the arithmetic by hand."""

import jax

from evo_jax.chips import CHIPS, gpu_of
from evo_jax.config import Config
from evo_jax.policy.model_config import ModelConfig
from evo_jax.roofline import Program, SliceReport, kernel_flops, memory_lines, model_flops, phase_bytes, time_lines
from evo_jax.sharding import make_mesh

MODEL = ModelConfig("qwen3", 2048, 2, 512, 1024, 8, 4, 128, qk_norm=True, tied_embeddings=True, max_positions=4096)


def report_of(mesh_shape: tuple[int, ...] = (1, 1, 1, 1)) -> SliceReport:
    config = Config()
    config.policy.remat, config.learner.row_tokens, config.learner.rows_per_micro_batch = "full", 1024, 2
    mesh = make_mesh(mesh_shape, [jax.devices()[0]] * 8)
    return SliceReport("v5e:2x4", CHIPS["v5e"], mesh, MODEL, config)


def program(name: str, arguments: int, kept: int, temporaries: int) -> Program:
    return Program(name, arguments, kept, kept, temporaries, 0, 0.0, {}, {}, [], 0.0, 0, 0.0, 0.0)


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


def test_a_roofline_by_hand() -> None:
    report = report_of()
    report.config.policy.attention = "xla"
    # 197 TFLOP and 20 GB sent: a second of products, a tenth of one over links that send 200 GB/s; 2 rows of 1,024 tokens
    step = Program("micro-step", 0, 0, 0, 0, 0, 197e12, {"all-gather": [3, 20e9]}, {}, [], 0.0, 0, 0.0, 0.0)
    report.programs = {"micro-step": step, "optimizer step": program("optimizer step", 819 * 10**6, 0, 0)}
    lines = time_lines(report)
    assert lines[1].startswith("  micro-step 1,000.0 ms: 2,048 tokens/s")
    assert lines[2].startswith("  micro-step 1,100.0 ms: 1,862 tokens/s")
    assert lines[3].startswith("  optimizer step 1.0 ms")


def test_what_does_not_fit_is_said() -> None:
    report = report_of()
    report.programs = {"micro-step": program("micro-step", 15 * 2**30, 0, 2**30), "decode": program("decode", 17 * 2**30, 0, 0)}
    assert [line.split()[-1] for line in memory_lines(report)[1:]] == ["fits", "FIT"]


def test_a_gpu_is_known_by_what_jax_calls_it():
    assert [gpu_of(kind).name for kind in ("NVIDIA H200", "NVIDIA H100 80GB HBM3", "NVIDIA L4")] == [
        "H200 SXM",
        "H100 SXM",
        "L4",
    ]
    assert [gpu_of(kind) for kind in ("NVIDIA L40S", "NVIDIA H100 PCIe", "cpu")] == [None] * 3
