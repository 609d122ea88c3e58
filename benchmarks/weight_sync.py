"""How long a policy's weights take to reach an SGLang server, and how long the server stands still for it.

Command: python -m benchmarks.weight_sync [--shapes=smollm2-135m,qwen3-0.6b] [--dtype=bfloat16] [--repeats=5]. For every shape
in turn one server on the CPU (`make sglang`); prints one table and writes results/weight_sync.json. `write` is the version
published: written, read back and named; rollouts go on meanwhile. `pause` is what the server does nothing else in: paused,
loaded, continued, its version checked. `reload` is the server's own share of that, its /update_weights_from_disk alone; the
two take turns. `compare` is the comparison by name and value after a server's first sync. `torch save` and `torch load` are
the same tensors through one plain file of torch's in the same place, in the server's environment. qwen3-0.6b has that
model's shape and random weights: no time here depends on values. Left out: several servers (they load side by side),
networks, tokens sampled meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from flax import nnx
from rich.console import Console
from rich.table import Table

from benchmarks.record import ROOT, Timing, cores, measure, write_record
from evo_jax.host_memory import keep_freed_memory, release_freed_memory
from evo_jax.policy.decoder import random_decoder
from evo_jax.policy.loading import load_policy
from evo_jax.policy.model_config import ModelConfig
from evo_jax.policy.tokenizer import Tokenizer
from evo_jax.rollouts.sglang_client import ServerClient
from evo_jax.rollouts.sglang_process import ServerProcess
from evo_jax.rollouts.sglang_weights import check_values, load_weights
from evo_jax.rollouts.weight_transport import DirectoryTransport, PublishedWeights

SMALL_MODEL = ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
SERVER_PYTHON = ROOT / ".venv-sglang" / "bin" / "python"
TIMEOUT_S = 1800.0
QWEN3 = ModelConfig(
    family="qwen3",
    vocab_size=151936,
    num_layers=28,
    width=1024,
    ffn_width=3072,
    num_heads=16,
    num_kv_heads=8,
    head_size=128,
    rope_theta=1e6,
    tied_embeddings=True,
    qk_norm=True,
    max_positions=40960,
)
# Tensors in memory of their own, as a trainer has them: not pages of the file that they came from.
TORCH = """
import json, sys, time
import safetensors.torch, torch
torch.set_num_threads(int(sys.argv[4]))
tensors = {name: tensor.clone() for name, tensor in safetensors.torch.load_file(sys.argv[1]).items()}
save, load = [], []
for _ in range(int(sys.argv[3])):
    times = [(time.perf_counter(), time.process_time())]
    torch.save(tensors, sys.argv[2])
    times.append((time.perf_counter(), time.process_time()))
    loaded = torch.load(sys.argv[2])
    times.append((time.perf_counter(), time.process_time()))
    del loaded
    save.append([times[1][0] - times[0][0], times[1][1] - times[0][1]])
    load.append([times[2][0] - times[1][0], times[2][1] - times[1][1]])
print(json.dumps([torch.__version__, save, load]))
"""


def main() -> None:
    """Measures every shape, prints the table, writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default="smollm2-135m,qwen3-0.6b")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--server_python", default=str(SERVER_PYTHON))
    parser.add_argument("--output", default="")
    options = parser.parse_args()
    keep_freed_memory()
    rows, torch_version = [], ""
    for name in options.shapes.split(","):
        size_gb, timings, torch_version = measure_shape(SHAPES[name], options)
        rows += [
            {"shape": name, "size_gb": round(size_gb, 4), "part": part, "gb_per_s": round(size_gb / timing.median_s, 3)}
            | timing.fields
            for part, timing in timings.items()
        ]
    show(rows)
    settings = {"shapes": options.shapes, "dtype": options.dtype, "repeats": options.repeats}
    write_record("weight_sync", settings, rows, {"torch": torch_version, "sglang": "0.5.23"}, options.output)


def small_model(dtype: str) -> tuple[ModelConfig, Tokenizer, nnx.State]:
    """The real small model, its parameters as a learner holds them."""
    policy = load_policy(SMALL_MODEL, compute_dtype=dtype)
    return policy.model_config, policy.tokenizer, nnx.state(policy.decoder)


def random_qwen3(dtype: str) -> tuple[ModelConfig, Tokenizer, nnx.State]:
    """Qwen3-0.6B's shape, with the small model's tokenizer and parameters that are stored as they are held."""
    tokenizer = load_policy(SMALL_MODEL).tokenizer
    return QWEN3, tokenizer, nnx.state(random_decoder(QWEN3, jax.random.key(0), param_dtype=dtype))


Shape = Callable[[str], tuple[ModelConfig, Tokenizer, nnx.State]]
SHAPES: dict[str, Shape] = {"smollm2-135m": small_model, "qwen3-0.6b": random_qwen3}


def measure_shape(shape: Shape, options: argparse.Namespace) -> tuple[float, dict[str, Timing], str]:
    """Gigabytes of a version, the time of every part, torch's version. At most two versions exist at a time."""
    config, tokenizer, params = shape(options.dtype)
    transport = DirectoryTransport(config, tokenizer, dtype=options.dtype)
    try:
        weights = transport.publish(params, 0)
        with running_server(options, weights) as client:
            written, writes = [weights], []

            def publish(version: int) -> None:
                written.append(transport.publish(params, version))

            for version in range(1, options.repeats + 1):
                writes.append(measure(functools.partial(publish, version)))
                transport.retire(weights := written[-1])
            timings = {"write": functools.reduce(Timing.__add__, writes)}
            timings |= against_server(client, weights, options.repeats)
        del params
        release_freed_memory()
        file = weights.directory / "model.safetensors"
        torch_version, save, load = torch_save_and_load(options, file, transport.root / "tensors.pt")
        return file.stat().st_size / 1e9, timings | {"torch save": save, "torch load": load}, torch_version
    finally:
        transport.close()


@contextlib.contextmanager
def running_server(options: argparse.Namespace, weights: PublishedWeights) -> Iterator[ServerClient]:
    """One server on the CPU, started on `weights`."""
    words = (options.server_python, str(ROOT / "sglang_cpu" / "serve.py"), "--model-path", "{model_path}", "--port", "{port}")
    command = (*words, "--dtype", options.dtype, "--context-length", "2048", "--log-level", "warning")
    with tempfile.TemporaryDirectory() as scratch:
        server = ServerProcess(command, weights.directory, Path(scratch) / "log")
        try:
            client = ServerClient(server.url)
            server.wait_until_ready(client, TIMEOUT_S, lambda: False)
            yield client
        finally:
            server.stop()


def against_server(client: ServerClient, weights: PublishedWeights, repeats: int) -> dict[str, Timing]:
    """Pause and the server's own reload, in turns after one of each that is not measured, and the comparison."""

    def reload() -> None:
        body = {"model_path": str(weights.directory), "weight_version": weights.label, "flush_cache": True}
        client.call("/update_weights_from_disk", body, timeout_s=TIMEOUT_S)

    def pause() -> None:
        load_weights(client, weights, pause_mode="retract", timeout_s=TIMEOUT_S)

    reload()
    pause()
    turns = [(measure(pause), measure(reload)) for _ in range(repeats)]
    pauses, reloads = (functools.reduce(Timing.__add__, timings) for timings in zip(*turns, strict=True))
    return {"pause": pauses, "reload": reloads, "compare": measure(lambda: check_values(client, weights), repeats)}


def torch_save_and_load(options: argparse.Namespace, file: Path, target: Path) -> tuple[str, Timing, Timing]:
    """The same tensors through a plain torch file, in the server's environment: torch's version and the times."""
    arguments = [str(file), str(target), str(options.repeats), str(cores())]
    done = subprocess.run(
        [options.server_python, "-c", TORCH, *arguments], capture_output=True, text=True, check=True, timeout=TIMEOUT_S
    )
    version, save, load = json.loads(done.stdout)
    return version, *(Timing(*map(tuple, zip(*pairs, strict=True))) for pairs in (save, load))


def show(rows: list[dict[str, Any]]) -> None:
    """The table."""
    table = Table(title="weights to one SGLang server")
    for column in ("shape", "GB", "part", "median s", "min s", "max s", "GB/s"):
        table.add_column(column, justify="left" if column in ("shape", "part") else "right")
    for row in rows:
        spread = (f"{row['spread'][name]:.3f}" for name in ("median", "min", "max"))
        table.add_row(row["shape"], f"{row['size_gb']:.2f}", row["part"], *spread, f"{row['gb_per_s']:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
