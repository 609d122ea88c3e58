"""Rollouts from a real SGLang server, held to the embedded engine and to the policy's own forward pass."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import psutil
import pytest
from flax import nnx

from evo_jax.policy.attention import causal_attend
from evo_jax.policy.decoder import flat_parameters
from evo_jax.policy.huggingface import tensor_name
from evo_jax.policy.loading import Policy, load_policy
from evo_jax.rollouts.embedded import EmbeddedEngine
from evo_jax.rollouts.protocol import RolloutError, RolloutRequest, SamplingParams
from evo_jax.rollouts.sglang import SGLangEngine
from evo_jax.rollouts.sglang_client import ServerClient, ServerRefused
from evo_jax.rollouts.sglang_process import ServerProcess
from evo_jax.rollouts.sglang_weights import check_values, compare_first_rows, compare_names
from evo_jax.rollouts.sglang_wire import WrongWeights
from evo_jax.rollouts.weight_transport import DirectoryTransport, PublishedWeights, stored_tensors
from tests.integration.conftest import ROOT, SERVE, SMALL_MODEL, embedded_engine, noisy, sglang_engine

pytestmark = [pytest.mark.slow, pytest.mark.sglang]

TOLERANCE = 1e-3


def request(name: int, length: int, group: int = 1, limit: int = 12, **sampling: Any) -> RolloutRequest:
    prompt = tuple(int(token) for token in np.random.default_rng(name).integers(5, 49000, length))
    return RolloutRequest(str(name), prompt, group, 7 + name, SamplingParams(limit, **sampling))


def greedy(count: int, **sampling: Any) -> list[RolloutRequest]:
    return [request(n, 3 + 9 * n, temperature=0.0, **sampling) for n in range(count)]


def same(ours: list[list[Any]], theirs: list[list[Any]]) -> None:
    """Equal tokens, texts and ends, and log-probs that agree."""
    for mine, other in zip(ours, theirs, strict=True):
        for a, b in zip(mine, other, strict=True):
            assert a.tokens.tolist() == b.tokens.tolist()
            assert (a.text, a.finish_reason, a.policy_version) == (b.text, b.finish_reason, b.policy_version)
            np.testing.assert_allclose(a.logprobs, b.logprobs, atol=TOLERANCE)


@pytest.fixture
def engine(server: ServerProcess, policy: Policy, tmp_path: Path) -> Iterator[SGLangEngine]:
    made = sglang_engine(policy, tmp_path, urls=(server.url,))
    made.load_weights(nnx.state(policy.decoder), 0)
    yield made
    made.close()


# ---- what is sampled ---------------------------------------------------------------------------------------------------


def test_greedy_completions_are_those_of_the_embedded_engine(
    engine: SGLangEngine, embedded: EmbeddedEngine, policy: Policy
) -> None:
    embedded.load_weights(nnx.state(policy.decoder), 0)
    plain = greedy(8)
    theirs = embedded.generate(plain)
    same(engine.generate(plain), theirs)
    # Stop strings from the middle of what comes: the same token ends it, the same text is left.
    stops = tuple({group[0].text[3:5] for group in theirs if len(group[0].text) > 5})
    stopped = greedy(8, stop=stops)
    found = embedded.generate(stopped)
    assert any(group[0].finish_reason == "stop" for group in found)
    same(engine.generate(stopped), found)


@nnx.jit
def row_logits(decoder: Any, row: jax.Array) -> jax.Array:
    return decoder.logits(decoder(row[None], jnp.arange(row.shape[0])[None], causal_attend)[0])


@pytest.mark.parametrize(
    "sampling", [{}, {"temperature": 0.7, "top_k": 5}, {"temperature": 1.5, "top_p": 0.5}], ids=["plain", "top_k", "top_p"]
)
def test_logprobs_are_those_of_the_temperature_distribution_before_any_cut(
    engine: SGLangEngine, policy: Policy, sampling: dict[str, Any]
) -> None:
    asked = [request(n, 5 + n, 4, 6, **sampling) for n in range(6)]
    distinct = set()
    for wanted, group in zip(asked, engine.generate(asked), strict=True):
        for completion in group:
            row = np.zeros(32, np.int32)
            end = len(wanted.prompt_tokens) + len(completion.tokens)
            row[:end] = [*wanted.prompt_tokens, *completion.tokens]
            logits = np.asarray(row_logits(policy.decoder, row))[len(wanted.prompt_tokens) - 1 : end - 1]
            scaled = logits.astype(np.float64) / wanted.sampling.temperature
            expected = scaled - scaled.max(-1, keepdims=True)
            expected -= np.log(np.exp(expected).sum(-1, keepdims=True))
            places = np.arange(len(completion.tokens))
            np.testing.assert_allclose(completion.logprobs, expected[places, completion.tokens], atol=TOLERANCE)
            if wanted.sampling.top_k:
                ranks = (logits > logits[places, completion.tokens][:, None]).sum(-1)
                assert ranks.max() < wanted.sampling.top_k
            distinct.add(tuple(completion.tokens.tolist()))
    assert len(distinct) > 12  # members of a group are drawn apart


# ---- weight sync -------------------------------------------------------------------------------------------------------


def test_after_a_sync_the_server_is_the_new_policy_for_every_single_parameter(
    engine: SGLangEngine, embedded: EmbeddedEngine, policy: Policy
) -> None:
    base = nnx.state(policy.decoder)
    asked = greedy(3)
    embedded.load_weights(base, 0)
    before = engine.generate(asked)
    names = [tensor_name(path) for path, _ in flat_parameters(base)]
    for place, name in enumerate(names):
        leaves, tree = jax.tree.flatten(base)
        leaves[place] = leaves[place] + 0.3 * jax.random.normal(jax.random.key(place), leaves[place].shape)
        changed = jax.tree.unflatten(tree, leaves)
        version = place + 1
        embedded.load_weights(changed, version)
        engine.load_weights(changed, version)
        after = engine.generate(asked)
        same(after, embedded.generate(asked))
        moved = max(
            1.0 if a.tokens.tolist() != b.tokens.tolist() else float(np.abs(a.logprobs - b.logprobs).max())
            for (a,), (b,) in zip(before, after, strict=True)
        )
        assert moved > 2 * TOLERANCE, f"{name} was changed and no rollout shows it"


def perturbed(weights: PublishedWeights, name: str) -> Callable[[], None]:
    """Changes the last bit of the last value of one tensor in a published file; what is returned puts it back."""
    tensor = weights.tensors[name]
    end = tensor.offset + int(np.prod(tensor.shape)) * tensor.dtype.itemsize - tensor.dtype.itemsize

    def flip() -> None:
        with tensor.path.open("r+b") as file:
            file.seek(end)
            value = file.read(1)[0]
            file.seek(end)
            file.write(bytes([value ^ 1]))

    flip()
    return flip


def test_the_comparison_notices_one_bit_in_any_tensor(engine: SGLangEngine, server: ServerProcess) -> None:
    client, weights = ServerClient(server.url), engine._weights
    assert weights is not None
    check_values(client, weights)
    for name in weights.tensors:
        flip = perturbed(weights, name)
        with pytest.raises(WrongWeights, match="values of"):
            check_values(client, weights)
        flip()
    check_values(client, weights)


def test_the_first_rows_that_a_server_shows_are_ours(engine: SGLangEngine, server: ServerProcess) -> None:
    """What is compared where no checksums can be: here on the same server."""
    client, weights = ServerClient(server.url), engine._weights
    assert weights is not None
    compare_first_rows(client, weights, np.dtype(np.float32))
    other = dict(weights.tensors)
    other["model.layers.0.input_layernorm.weight"] = other["model.layers.1.input_layernorm.weight"]
    wrong = PublishedWeights(0, weights.label, weights.directory, other)
    with pytest.raises(WrongWeights, match=r"layers\.0\.input_layernorm"):
        compare_first_rows(client, wrong, np.dtype(np.float32))


class MisnamingTransport(DirectoryTransport):
    """A double: publishes, then misnames one tensor in the file, as a wrong export would."""

    def publish(self, params: nnx.State, version: int) -> PublishedWeights:
        sound = super().publish(params, version)
        path = sound.directory / "model.safetensors"
        path.write_bytes(path.read_bytes().replace(b"model.layers.1.mlp.up_proj", b"model.layers.1.mlp.uq_proj"))
        return PublishedWeights(version, sound.label, sound.directory, stored_tensors(sound.directory))


def test_a_misnamed_tensor_that_the_server_skips_silently_is_noticed(
    server: ServerProcess, policy: Policy, tmp_path: Path
) -> None:
    engine = sglang_engine(policy, tmp_path, urls=(server.url,), transport=MisnamingTransport, max_restarts=0)
    with pytest.raises(RolloutError, match=r"not the policy's tensors.*uq_proj"):
        engine.load_weights(nnx.state(policy.decoder), 0)
    assert engine.policy_version == -1
    engine.close()


# ---- failures of the real server ---------------------------------------------------------------------------------------


def test_a_server_that_another_run_took_over_gets_our_weights_again(
    engine: SGLangEngine, embedded: EmbeddedEngine, server: ServerProcess, policy: Policy, tmp_path: Path
) -> None:
    other = sglang_engine(policy, tmp_path / "other", urls=(server.url,))
    other.load_weights(noisy(nnx.state(policy.decoder), 5), 0)  # the same version number, other weights
    embedded.load_weights(nnx.state(policy.decoder), 0)
    same(engine.generate(greedy(6)), embedded.generate(greedy(6)))
    other.close()


def test_a_slow_server_is_waited_for(
    engine: SGLangEngine, embedded: EmbeddedEngine, server: ServerProcess, policy: Policy, tmp_path: Path
) -> None:
    impatient = sglang_engine(policy, tmp_path / "impatient", urls=(server.url,), health_interval_s=1.0, max_attempts=1)
    impatient.load_weights(nnx.state(policy.decoder), 0)
    embedded.load_weights(nnx.state(policy.decoder), 0)
    client = ServerClient(server.url)
    client.call("/slow_down", {"forward_sleep_time": 0.5}, timeout_s=60.0)
    try:
        same(impatient.generate(greedy(4)), embedded.generate(greedy(4)))
    finally:
        client.call("/slow_down", {"forward_sleep_time": None}, timeout_s=60.0)
    impatient.close()


def test_a_full_server_turns_groups_away_and_none_is_lost(server: ServerProcess, policy: Policy, tmp_path: Path) -> None:
    engine = sglang_engine(policy, tmp_path, urls=(server.url,), capacity=96, max_attempts=1)
    engine.load_weights(nnx.state(policy.decoder), 0)
    asked = [request(n, 8, 8, 8) for n in range(12)]
    groups = engine.generate(asked)
    assert [len(group) for group in groups] == [8] * 12
    assert all(completion.finish_reason in ("stop", "length") for group in groups for completion in group)
    assert "queue is full" in server._log_path.read_text() or "503" in server._log_path.read_text()
    engine.close()


def family(server: ServerProcess) -> list[psutil.Process]:
    """The server's own processes, without the guard over them."""
    return psutil.Process(server._process.pid).children(recursive=True)


def test_a_hung_server_that_comes_back_loses_no_group(
    embedded: EmbeddedEngine, server: ServerProcess, policy: Policy, tmp_path: Path
) -> None:
    engine = sglang_engine(policy, tmp_path, urls=(server.url,), health_interval_s=1.0, return_timeout_s=120.0)
    engine.load_weights(nnx.state(policy.decoder), 0)
    embedded.load_weights(nnx.state(policy.decoder), 0)
    stopped = family(server)

    def hang() -> None:
        for process in stopped:
            process.send_signal(signal.SIGSTOP)
        time.sleep(15)
        for process in stopped:
            process.send_signal(signal.SIGCONT)

    hanging = threading.Thread(target=hang)
    hanging.start()
    try:
        same(engine.generate(greedy(6)), embedded.generate(greedy(6)))
    finally:
        hanging.join()
    engine.close()


# ---- whole runs --------------------------------------------------------------------------------------------------------


def test_the_whole_ring_turns_over_a_server(server: ServerProcess, tiny: Callable[[str], Path], tmp_path: Path) -> None:
    arguments = [
        *(sys.executable, "-m", "evo_jax.train", "--config=tests/tiny_ring.py"),
        f"--config.run_dir={tmp_path / 'run'}",
        f"--config.policy.path={tiny('llama')}",
        "--config.rollout.engine=sglang",
        f"--config.sglang.urls=('{server.url}',)",
        f"--config.sglang.weights_dir={tmp_path / 'weights'}",
    ]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-2000:]
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics] == [0, 1, 2, 3, 4]
    assert [line["policy_version"] for line in metrics[1:]] == [1, 2, 3, 4]
    assert all(line["trained_tokens"] > 0 for line in metrics[1:])
    # Rollouts scored under other weights than they were sampled from would show here at once: the learning rate is 1e-2.
    assert all(line["sampling/logprob_difference/max"] < TOLERANCE for line in metrics[1:])
    assert list((tmp_path / "weights").iterdir()) == []


def test_a_server_of_our_own_killed_while_sampling_is_started_anew(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    """Also the second family, whose model can't show single weights: all that the server holds is compared by checksum."""
    policy = load_policy(tiny("qwen3"), compute_dtype="float32")
    engine, embedded = sglang_engine(policy, tmp_path, command=SERVE), embedded_engine(policy)
    try:
        for version in (0, 1):
            params = noisy(nnx.state(policy.decoder), version, scale=0.05)
            engine.load_weights(params, version)
            embedded.load_weights(params, version)
            same(engine.generate(greedy(4)), embedded.generate(greedy(4)))
        process, client, weights = engine._fleet.servers[0].process, engine._fleet.servers[0].client, engine._weights
        assert process is not None
        assert client is not None
        assert weights is not None
        # What is left where neither checksums nor values can be compared.
        with pytest.raises(ServerRefused):
            client.call("/get_weights_by_name", {"name": "model.norm.weight"}, timeout_s=60.0)
        compare_names(client, weights)
        victims = family(process)
        schedulers = [victim for victim in victims if "scheduler" in victim.name()]
        assert schedulers
        for scheduler in schedulers:
            # Held still, so that the request can't be done before the kill.
            scheduler.suspend()
        threading.Timer(0.5, lambda: [scheduler.kill() for scheduler in schedulers]).start()
        asked = greedy(24, stop=("no such text",))
        same(engine.generate(asked), embedded.generate(asked))
        assert engine._fleet.servers[0].process is not process
        survivors = family(engine._fleet.servers[0].process)
    finally:
        engine.close()
    assert not any(map(is_running, [*victims, *survivors]))


def is_running(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_the_real_small_model_says_the_same_over_a_server(tmp_path: Path) -> None:
    policy = load_policy(SMALL_MODEL, compute_dtype="float32")
    questions = ["What is 3 + 4?", "Name the capital of France.", "Which number is larger, 17 or 71?"]
    prompts = [policy.tokenizer.chat_prompt([{"role": "user", "content": text}]).token_ids for text in questions]
    asked = [RolloutRequest(str(n), ids, 1, n, SamplingParams(24, temperature=0.0)) for n, ids in enumerate(prompts)]
    embedded = embedded_engine(policy)
    embedded.load_weights(nnx.state(policy.decoder), 0)
    theirs = embedded.generate(asked)
    embedded.close()
    engine = sglang_engine(policy, tmp_path, command=SERVE)
    try:
        engine.load_weights(nnx.state(policy.decoder), 0)
        same(engine.generate(asked), theirs)
        assert any(group[0].finish_reason == "stop" for group in theirs)  # an end-of-sequence token is among them
        sampled = engine.generate([RolloutRequest("s", prompts[0], 8, 0, SamplingParams(16))])[0]
        assert len({completion.text for completion in sampled}) > 1
    finally:
        engine.close()


def test_the_quickstart_runs_end_to_end_over_a_server(tmp_path: Path) -> None:
    """The config of `make quickstart`, as it is, over a server that the run starts: training, export, report."""
    run = tmp_path / "run"
    command = (*SERVE, "--max-running-requests", "32", "--max-total-tokens", "16384", "--log-level", "warning")
    words = [
        *("evo_jax.train", "--config=configs/quickstart.py", f"--config.run_dir={run}", "--config.rollout.engine=sglang"),
        *(f"--config.sglang.command={command!r}", "--config.rollout.max_logprob_difference=0.1"),
    ]
    for arguments in (words, ["evo_jax.export", f"--run_dir={run}"]):
        done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=3600)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics] == [0, 1, 2, 3, 4]
    assert [line["policy_version"] for line in metrics[1:]] == [1, 2, 3, 4]
    # A server takes no seeds, so which steps find no mixed group is chance; what was trained on came from the policy.
    trained = [line for line in metrics[1:] if line["trained_tokens"] > 0]
    assert trained
    assert all(line["sampling/logprob_difference/mean"] < 0.1 for line in trained)
    assert (run / "report.html").is_file()
    assert list(run.glob("**/model.safetensors"))


class TruncatingTransport(DirectoryTransport):
    """A double: publishes, then cuts the file short, as a file system that fills up afterwards would."""

    def publish(self, params: nnx.State, version: int) -> PublishedWeights:
        sound = super().publish(params, version)
        if version:
            path = sound.directory / "model.safetensors"
            os.truncate(path, path.stat().st_size // 2)
        return sound


def test_a_truncated_directory_kills_the_server_and_ends_in_an_error_not_a_hang(
    server: ServerProcess, policy: Policy, tmp_path: Path
) -> None:
    """The last test of this server: SGLang 0.5.23 rolls back by reading the same directory again, and dies of it."""
    engine = sglang_engine(policy, tmp_path, urls=(server.url,), transport=TruncatingTransport, return_timeout_s=5.0)
    engine.load_weights(nnx.state(policy.decoder), 0)
    with pytest.raises(RolloutError, match="no SGLang server is left"):
        engine.load_weights(nnx.state(policy.decoder), 1)
    assert engine.policy_version == -1
    with pytest.raises(RolloutError, match="no weights"):
        engine.generate(greedy(1))
    engine.close()
