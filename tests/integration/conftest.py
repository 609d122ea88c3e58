"""A real SGLang server on the CPU (`make sglang` sets it up), one for the tests of a module, and tiny policies."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import pytest
from flax import nnx

from evo_jax.policy.decoder import random_decoder
from evo_jax.policy.huggingface_writing import save_huggingface
from evo_jax.policy.loading import Policy, load_policy
from evo_jax.policy.model_config import ModelConfig
from evo_jax.rollouts.embedded import EmbeddedEngine, EngineSettings
from evo_jax.rollouts.sglang import SGLangEngine, SGLangSettings
from evo_jax.rollouts.sglang_client import ServerClient
from evo_jax.rollouts.sglang_dispatch import DispatchSettings
from evo_jax.rollouts.sglang_fleet import FleetSettings
from evo_jax.rollouts.sglang_process import ServerProcess
from evo_jax.rollouts.weight_transport import DirectoryTransport

ROOT = Path(__file__).parents[2]
SMALL_MODEL = ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
SERVER_PYTHON = ROOT / ".venv-sglang" / "bin" / "python"
SERVE = (str(SERVER_PYTHON), str(ROOT / "sglang_cpu" / "serve.py"), "--model-path", "{model_path}", "--port", "{port}")
CAPACITY, QUEUE = 8, 16
START_TIMEOUT_S = 900.0

TINY = {
    "llama": ModelConfig(
        family="llama",
        vocab_size=49152,
        num_layers=2,
        width=32,
        ffn_width=64,
        num_heads=4,
        num_kv_heads=2,
        head_size=8,
        tied_embeddings=True,
        max_positions=4096,
    )
}
TINY["qwen3"] = dataclasses.replace(TINY["llama"], family="qwen3", qk_norm=True, tied_embeddings=False, head_size=16)


@pytest.fixture(scope="session", autouse=True)
def _server_environment() -> None:
    for needed, target in ((SERVER_PYTHON, "sglang"), (SMALL_MODEL, "model")):
        if not needed.exists():
            pytest.skip(f"{needed.name} is not here: run `make {target}`")


def noisy(params: nnx.State, seed: int, scale: float = 0.1) -> nnx.State:
    """`params` with noise on every one, so that norms are not 1, and logits far enough apart that rounding decides no token."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    return jax.tree.unflatten(
        tree, [x + scale * jax.random.normal(key, x.shape, x.dtype) for x, key in zip(leaves, keys, strict=True)]
    )


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Directory of a tiny policy of a family, with random weights and the small model's tokenizer."""
    made: dict[str, Path] = {}

    def path(family: str) -> Path:
        if family not in made:
            tokenizer = load_policy(SMALL_MODEL).tokenizer
            config = dataclasses.replace(TINY[family], eos_token_ids=tokenizer.eos_token_ids)
            made[family] = tmp_path_factory.mktemp("policy") / family
            save_huggingface(made[family], config, noisy(nnx.state(random_decoder(config, jax.random.key(0))), 1), tokenizer)
        return made[family]

    return path


@pytest.fixture(scope="session")
def policy(tiny: Callable[[str], Path]) -> Policy:
    return load_policy(tiny("llama"), compute_dtype="float32")


@pytest.fixture(scope="module")
def server(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server on the tiny llama, with little room: eight at once and sixteen waiting."""
    command = (*SERVE, "--max-running-requests", str(CAPACITY), "--max-queued-requests", str(QUEUE))
    process = ServerProcess(command, tiny("llama"), tmp_path_factory.mktemp("server") / "log")
    try:
        process.wait_until_ready(ServerClient(process.url), START_TIMEOUT_S, lambda: False)
        yield process
    finally:
        process.stop()


def embedded_engine(policy: Policy) -> EmbeddedEngine:
    """The engine that the server is held to."""
    settings = EngineSettings(slots=8, lanes=4, max_prompt_tokens=256)
    return EmbeddedEngine(policy.model_config, policy.tokenizer, settings, dtype="float32")


@pytest.fixture(scope="session")
def embedded(policy: Policy) -> EmbeddedEngine:
    return embedded_engine(policy)


def sglang_engine(
    policy: Policy, parent: Path, *, transport: type[DirectoryTransport] = DirectoryTransport, **options: Any
) -> SGLangEngine:
    """An engine over servers named by `urls` or started by `command`; other options are those of fleet and dispatch."""
    fleet = {"capacity": CAPACITY, "start_timeout_s": START_TIMEOUT_S, "check_weights": "every"}
    dispatch: dict[str, Any] = {"request_timeout_s": 300.0}
    for name, value in options.items():
        (fleet if name in FleetSettings.__dataclass_fields__ else dispatch)[name] = value
    settings = SGLangSettings(FleetSettings(**fleet), DispatchSettings(**dispatch), max_prompt_tokens=256)
    carrier = transport(policy.model_config, policy.tokenizer, dtype="float32", parent=parent)
    return SGLangEngine(policy.model_config, policy.tokenizer, carrier, settings)
