"""A real SGLang server stopped under what it samples, given new weights, and gone on with: every span is of its version."""

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from evo_jax.policy.attention import causal_attend
from evo_jax.policy.loading import Policy
from evo_jax.rollouts.protocol import Completion, RolloutRequest, SamplingParams
from evo_jax.rollouts.sglang import SGLangEngine
from evo_jax.rollouts.sglang_process import ServerProcess
from tests.integration.conftest import ROOT, noisy, sglang_engine

pytestmark = [pytest.mark.slow, pytest.mark.sglang]

TOLERANCE = 1e-3
LIMIT = 160
ROW = 256


@nnx.jit
def row_logits(decoder: Any, row: jax.Array) -> jax.Array:
    return decoder.logits(decoder(row[None], jnp.arange(row.shape[0])[None], causal_attend)[0])


def plain_logprobs(decoder: Any, prompt: tuple[int, ...], tokens: np.ndarray) -> np.ndarray:
    """Log-probs of a completion's tokens by one plain forward pass."""
    row = np.zeros(ROW, np.int32)
    end = len(prompt) + len(tokens)
    row[:end] = [*prompt, *tokens]
    logits = np.asarray(row_logits(decoder, row))[len(prompt) - 1 : end - 1].astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    return (logits - np.log(np.exp(logits).sum(-1, keepdims=True)))[np.arange(len(tokens)), tokens]


def sample_until_begun(engine: SGLangEngine, requests: list[RolloutRequest]) -> list[list[Completion]]:
    """Stops the engine after longer and longer, until some completion has begun and not ended."""
    patience_s = 0.2
    while True:
        stop_at = time.monotonic() + patience_s
        found = engine.generate(requests, should_stop=lambda stop_at=stop_at: time.monotonic() > stop_at)
        if any(len(c.tokens) and c.finish_reason == "abort" for group in found for c in group):
            return found
        requests = go_on(requests, found)
        assert any(request.open_members for request in requests), "everything ended before it could be stopped"
        patience_s *= 1.5


def go_on(requests: list[RolloutRequest], found: list[list[Completion]]) -> list[RolloutRequest]:
    return [dataclasses.replace(request, begun=tuple(group)) for request, group in zip(requests, found, strict=True)]


def test_each_token_has_the_logprob_of_the_version_it_names(server: ServerProcess, policy: Policy, tmp_path: Path) -> None:
    engine = sglang_engine(policy, tmp_path, urls=(server.url,))
    versions = [nnx.state(policy.decoder), *(noisy(nnx.state(policy.decoder), seed) for seed in (5, 6))]
    requests = [
        RolloutRequest(str(n), tuple(range(50 + n, 60 + 2 * n)), 3, n, SamplingParams(LIMIT if n % 2 else 9)) for n in range(6)
    ]
    asked = requests
    for version, params in enumerate(versions[:2]):
        engine.load_weights(params, version)
        requests = go_on(requests, sample_until_begun(engine, requests))
    engine.load_weights(versions[2], 2)
    groups = engine.generate(requests)
    engine.close()
    decoders = [nnx.merge(nnx.graphdef(policy.decoder), params) for params in versions]
    spanning = 0
    for request, group in zip(asked, groups, strict=True):
        assert len(group) == request.group_size
        for completion in group:
            assert completion.finish_reason in ("stop", "length")
            assert (completion.finish_reason == "length") == (len(completion.tokens) == request.sampling.max_completion_tokens)
            assert np.all(np.diff(completion.policy_versions) >= 0)
            spanning += len(set(completion.policy_versions.tolist())) > 1
            for version in set(completion.policy_versions.tolist()):
                span = completion.policy_versions == version
                expected = plain_logprobs(decoders[version], request.prompt_tokens, completion.tokens)
                np.testing.assert_allclose(completion.logprobs[span], expected[span], atol=TOLERANCE)
    assert spanning


def test_the_ring_samples_ahead_over_a_server(server: ServerProcess, tiny: Callable[[str], Path], tmp_path: Path) -> None:
    arguments = [
        *(sys.executable, "-m", "evo_jax.train", "--config=tests/tiny_ring.py"),
        f"--config.run_dir={tmp_path / 'run'}",
        f"--config.policy.path={tiny('llama')}",
        "--config.rollout.engine=sglang",
        f"--config.sglang.urls=('{server.url}',)",
        f"--config.sglang.weights_dir={tmp_path / 'weights'}",
        "--config.evolve.round_steps=4",
        "--config.rollout.max_completion_tokens=64",
        "--config.rollout.stop=('th',)",  # one token in thirty: long and short completions
        "--config.rollout.max_staleness_steps=2",
        "--config.rollout.oversampling_fraction=0.4",
        "--config.data.rewards=random",  # this policy solves nothing, and groups without variance train no token
    ]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-2000:]
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics] == [0, 1, 2, 3, 4]
    assert all(line["trained_tokens"] > 0 and line["staleness_steps/max"] <= 2 for line in metrics[1:])
    assert metrics[1]["staleness_steps"] == 0
    assert metrics[1]["sampling/logprob_difference/max"] < TOLERANCE
