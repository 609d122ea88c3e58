"""How long a policy's weights take to reach an SGLang server, and how long the server stands still for it.

Command: python -m benchmarks.weight_sync [--policy=PATH] [--dtype=bfloat16] [--repeats=5] [--server_python=PYTHON]. Starts
one server on the CPU (`make sglang`), prints one table and writes results/weight_sync.json. `write` is the version published:
written, read back and named; rollouts go on meanwhile. `pause` is what the server does nothing else in: paused, loaded,
continued, its version checked. `reload` is the server's own share of that, its /update_weights_from_disk alone. `compare` is
the comparison by name and value after a server's first sync. `torch` is torch.save and torch.load of the same tensors in the
server's environment. Left out: several servers (they load side by side), networks, tokens sampled meanwhile.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from flax import nnx
from rich.console import Console
from rich.table import Table

from benchmarks.record import ROOT, Timing, measure, write_record
from evo_jax.policy.loading import load_policy
from evo_jax.rollouts.sglang_client import ServerClient
from evo_jax.rollouts.sglang_process import ServerProcess
from evo_jax.rollouts.sglang_weights import check_values, load_weights
from evo_jax.rollouts.weight_transport import DirectoryTransport, PublishedWeights

TIMEOUT_S = 1800.0
TORCH = """
import json, sys, time
import safetensors.torch, torch
tensors, seconds = safetensors.torch.load_file(sys.argv[1]), []
for _ in range(int(sys.argv[3])):
    began = time.perf_counter()
    torch.save(tensors, sys.argv[2])
    torch.load(sys.argv[2])
    seconds.append(time.perf_counter() - began)
print(json.dumps([torch.__version__, seconds]))
"""


def main() -> None:
    """Starts a server, measures every part, prints the table, writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", default=str(ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"))
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--server_python", default=str(ROOT / ".venv-sglang" / "bin" / "python"))
    options = parser.parse_args()
    policy = load_policy(options.policy)
    params = nnx.state(policy.decoder)
    transport = DirectoryTransport(policy.model_config, policy.tokenizer, dtype=options.dtype)
    server = None
    try:
        first = transport.publish(params, 0)
        command = (
            options.server_python,
            str(ROOT / "sglang_cpu" / "serve.py"),
            "--model-path",
            "{model_path}",
            "--port",
            "{port}",
        )
        command = (*command, "--dtype", options.dtype, "--log-level", "warning")
        with tempfile.TemporaryDirectory() as scratch:
            server = ServerProcess(command, first.directory, Path(scratch) / "log")
            client = ServerClient(server.url)
            server.wait_until_ready(client, TIMEOUT_S, lambda: False)
            timings = {"write": measure(lambda: transport.publish(params, 1), options.repeats)}
            timings |= against_server(client, transport.publish(params, 2), options.repeats)
            version, timings["torch"] = torch_save_and_load(options, first, Path(scratch) / "tensors")
    finally:
        if server is not None:
            server.stop()
        transport.close()
    size_gb = sum(tensor.path.stat().st_size for tensor in {t.path: t for t in first.tensors.values()}.values()) / 1e9
    rows = [
        {"part": part, "gb_per_s": round(size_gb / timing.median_s, 3), **timing.fields} for part, timing in timings.items()
    ]
    show(rows, size_gb)
    settings = {**vars(options), "policy": Path(options.policy).name, "server_python": "", "size_gb": round(size_gb, 4)}
    write_record("weight_sync", settings, rows, {"torch": version, "sglang": "0.5.23"})


def against_server(client: ServerClient, weights: PublishedWeights, repeats: int) -> dict[str, Timing]:
    """Pause, the server's own reload, and the comparison."""

    def reload() -> None:
        body = {"model_path": str(weights.directory), "weight_version": weights.label, "flush_cache": True}
        client.call("/update_weights_from_disk", body, timeout_s=TIMEOUT_S)

    reload()
    return {
        "pause": measure(lambda: load_weights(client, weights, pause_mode="retract", timeout_s=TIMEOUT_S), repeats),
        "reload": measure(reload, repeats),
        "compare": measure(lambda: check_values(client, weights), repeats),
    }


def torch_save_and_load(options: argparse.Namespace, weights: PublishedWeights, target: Path) -> tuple[str, Timing]:
    """The same tensors through a plain torch file, in the server's environment: torch's version and the time."""
    arguments = [str(weights.directory / "model.safetensors"), str(target), str(options.repeats)]
    done = subprocess.run(
        [options.server_python, "-c", TORCH, *arguments], capture_output=True, text=True, check=True, timeout=TIMEOUT_S
    )
    version, seconds = json.loads(done.stdout)
    return version, Timing(tuple(seconds), (0.0,) * len(seconds))


def show(rows: list[dict[str, Any]], size_gb: float) -> None:
    """The table."""
    table = Table(title=f"weights of {size_gb:.2f} GB to one SGLang server")
    for column in ("part", "median s", "min s", "max s", "GB/s"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for row in rows:
        spread = row["spread"]
        table.add_row(row["part"], *(f"{spread[name]:.3f}" for name in ("median", "min", "max")), f"{row['gb_per_s']:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
