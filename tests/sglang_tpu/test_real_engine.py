"""A real sglang-jax Engine on the CPU (`make sglang-tpu` sets it up), asked by our own engine and held to the embedded one.

What only a TPU has is not here: its attention kernel, several chips, bfloat16.
"""

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from evo_jax.policy.decoder import flat_parameters, random_decoder
from evo_jax.policy.huggingface import tensor_name
from evo_jax.policy.huggingface_writing import save_huggingface
from evo_jax.policy.loading import Policy, load_policy
from evo_jax.rollouts.embedded import EmbeddedEngine
from evo_jax.rollouts.protocol import RolloutError
from evo_jax.rollouts.sglang import SGLangEngine
from evo_jax.rollouts.sglang_client import ServerClient, ServerRefused
from evo_jax.rollouts.sglang_process import ServerProcess
from tests.integration.conftest import ROOT, SMALL_MODEL, TINY, embedded_engine, noisy, sglang_engine
from tests.integration.test_sglang_server import TOLERANCE, MisnamingTransport, greedy, request, row_logits, same

pytestmark = [pytest.mark.slow, pytest.mark.sglang_tpu]

SERVER_PYTHON = ROOT / ".venv-sglang-tpu" / "bin" / "python"
SERVE = (
    *(str(SERVER_PYTHON), "-m", "sglang_tpu.serve", "--model-path", "{model_path}", "--port", "{port}"),
    *("--device", "cpu", "--dtype", "float32", "--mem-fraction-static", "0.2", "--max-total-tokens", "4096"),
    *("--max-running-requests", "8", "--context-length", "512", "--log-level", "warning"),
)


@pytest.fixture(scope="session", autouse=True)
def _server_environment() -> None:
    for needed, target in ((SERVER_PYTHON, "sglang-tpu"), (SMALL_MODEL, "model")):
        if not needed.exists():
            pytest.skip(f"{needed} is not here: run `make {target}`")


@pytest.fixture(scope="module", params=["llama", "qwen3"])
def policy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """Heads as wide as its kernels want them, for a CPU pads none; tied, for untied ones are multiplied in bfloat16."""
    tokenizer = load_policy(SMALL_MODEL).tokenizer
    eos = tokenizer.eos_token_ids
    config = dataclasses.replace(TINY[request.param], head_size=128, tied_embeddings=True, eos_token_ids=eos)
    directory = tmp_path_factory.mktemp("policy") / request.param
    save_huggingface(directory, config, noisy(nnx.state(random_decoder(config, jax.random.key(0))), 1), tokenizer)
    return load_policy(directory, compute_dtype="float32")


@pytest.fixture(scope="module")
def server(policy: Policy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    scratch = tmp_path_factory.mktemp("server")
    save_huggingface(scratch / "first", policy.model_config, noisy(nnx.state(policy.decoder), 9), policy.tokenizer)
    process = ServerProcess(SERVE, scratch / "first", scratch / "log")
    try:
        process.wait_until_ready(ServerClient(process.url), 300.0, lambda: False)
        yield process
    finally:
        process.stop()


@pytest.fixture(scope="module")
def embedded(policy: Policy) -> EmbeddedEngine:
    return embedded_engine(policy)


@pytest.fixture
def engine(server: ServerProcess, policy: Policy, tmp_path: Path) -> Iterator[SGLangEngine]:
    """Compares names and first rows of every tensor at every sync."""
    made = sglang_engine(policy, tmp_path, urls=(server.url,))
    made.load_weights(nnx.state(policy.decoder), 0)
    yield made
    made.close()


def test_greedy_completions_are_those_of_the_embedded_engine(
    engine: SGLangEngine, embedded: EmbeddedEngine, policy: Policy
) -> None:
    embedded.load_weights(nnx.state(policy.decoder), 0)
    same(engine.generate(greedy(6)), embedded.generate(greedy(6)))


@pytest.mark.parametrize(
    "sampling", [{}, {"temperature": 0.7, "top_k": 5}, {"temperature": 1.5, "top_p": 0.5}], ids=["plain", "top_k", "top_p"]
)
def test_logprobs_are_those_of_the_temperature_distribution_before_any_cut(
    engine: SGLangEngine, policy: Policy, sampling: dict[str, Any]
) -> None:
    asked = [request(n, 5 + n, 4, 6, **sampling) for n in range(4)]
    drawn = set()
    for wanted, group in zip(asked, engine.generate(asked), strict=True):
        for completion in group:
            start, end = len(wanted.prompt_tokens), len(wanted.prompt_tokens) + len(completion.tokens)
            row = np.zeros(32, np.int32)
            row[:end] = [*wanted.prompt_tokens, *completion.tokens]
            logits = np.asarray(row_logits(policy.decoder, jnp.asarray(row)))[start - 1 : end - 1]
            expected = jax.nn.log_softmax(logits / wanted.sampling.temperature)
            places = np.arange(len(completion.tokens))
            np.testing.assert_allclose(completion.logprobs, expected[places, completion.tokens], atol=TOLERANCE)
            if wanted.sampling.top_k:
                assert (logits > logits[places, completion.tokens][:, None]).sum(-1).max() < wanted.sampling.top_k
            drawn.add(tuple(completion.tokens.tolist()))
    assert len(drawn) == 16  # equal requests are drawn apart, within a group and from step to step


def test_after_a_sync_the_server_is_the_new_policy_for_every_single_parameter(
    engine: SGLangEngine, embedded: EmbeddedEngine, policy: Policy
) -> None:
    base = nnx.state(policy.decoder)
    asked = greedy(2)
    before = engine.generate(asked)
    names = [tensor_name(path) for path, _ in flat_parameters(base)]
    for place, name in enumerate(names):
        leaves, tree = jax.tree.flatten(base)
        leaves[place] = leaves[place] + 0.3 * jax.random.normal(jax.random.key(place), leaves[place].shape)
        changed = jax.tree.unflatten(tree, leaves)
        embedded.load_weights(changed, place + 1)
        engine.load_weights(changed, place + 1)
        after = engine.generate(asked)
        same(after, embedded.generate(asked))
        moved = max(
            1.0 if a.tokens.tolist() != b.tokens.tolist() else float(np.abs(a.logprobs - b.logprobs).max())
            for (a,), (b,) in zip(before, after, strict=True)
        )
        assert moved > 2 * TOLERANCE, f"{name} was changed and no rollout shows it"


def test_a_misnamed_tensor_is_refused_and_the_old_weights_go_on(
    engine: SGLangEngine, embedded: EmbeddedEngine, server: ServerProcess, policy: Policy, tmp_path: Path
) -> None:
    embedded.load_weights(nnx.state(policy.decoder), 0)
    theirs = embedded.generate(greedy(3))
    wrong = sglang_engine(policy, tmp_path / "wrong", urls=(server.url,), transport=MisnamingTransport, max_restarts=0)
    with pytest.raises(RolloutError, match=r"not this model's tensors.*uq_proj"):
        wrong.load_weights(noisy(nnx.state(policy.decoder), 5), 7)
    wrong.close()
    same(engine.generate(greedy(3)), theirs)


def test_what_it_does_not_serve_is_refused(server: ServerProcess) -> None:
    client = ServerClient(server.url)
    bodies: list[tuple[str, dict[str, Any], str]] = [
        ("/generate", {"input_ids": [5, 49152], "sampling_params": {}}, r"\[0, 49152\)"),
        ("/generate", {"input_ids": [5], "sampling_params": {"min_p": 0.1}}, "min_p is not served"),
        ("/generate", {"input_ids": [5] * 600, "sampling_params": {}}, "context length"),
        ("/update_weights_from_disk", {"model_path": "/nowhere", "weight_version": "x"}, "safetensors"),
        ("/get_weights_by_name", {"name": "model.norm.wrong"}, "no tensor"),
        ("/pause_generation", {"mode": "now"}, "mode 'now'"),
        ("/v1/completions", {}, "not served here"),
    ]
    for route, body, named in bodies:
        with pytest.raises(ServerRefused, match=named):
            client.call(route, body, timeout_s=60.0)
    assert client.is_healthy(60.0)


def test_a_stopped_group_is_gone_on_with(engine: SGLangEngine, embedded: EmbeddedEngine, policy: Policy) -> None:
    """Under the same weights, so that the embedded engine's uninterrupted group is what must come."""
    embedded.load_weights(nnx.state(policy.decoder), 0)
    asked = greedy(6, stop=("no such text",))
    finished: dict[int, Any] = {}
    found = engine.generate(asked, on_group=finished.__setitem__, should_stop=lambda: bool(finished))
    further = [dataclasses.replace(wanted, begun=tuple(group)) for wanted, group in zip(asked, found, strict=True)]
    same(engine.generate(further), embedded.generate(asked))


def test_a_sync_in_the_middle_of_a_group_waits_for_it(
    engine: SGLangEngine, embedded: EmbeddedEngine, server: ServerProcess, policy: Policy, tmp_path: Path
) -> None:
    """Another run takes the server over while ours samples: no completion is of two versions, and ours come from ours."""
    other = sglang_engine(policy, tmp_path / "other", urls=(server.url,))
    taking_over = threading.Timer(0.5, lambda: other.load_weights(noisy(nnx.state(policy.decoder), 5), 0))
    embedded.load_weights(nnx.state(policy.decoder), 0)
    asked = greedy(12, stop=("no such text",))
    expected = embedded.generate(asked)
    taking_over.start()
    same(engine.generate(asked), expected)
    taking_over.join()
    assert other.policy_version == 0
    other.close()
