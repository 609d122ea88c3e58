"""Our SGLang engine, a bucket, the fetcher, and RecordedServer behind it, a double that replays recorded answers."""

import dataclasses
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest
from flax import nnx

from evo_jax import fetch_weights
from evo_jax.fetch_weights import fetching_server
from evo_jax.policy.decoder import Decoder
from evo_jax.rollouts import bucket_transport
from evo_jax.rollouts.bucket_transport import BucketTransport
from evo_jax.rollouts.protocol import RolloutError, RolloutRequest, SamplingParams
from evo_jax.rollouts.sglang import SGLangEngine, SGLangSettings
from evo_jax.rollouts.sglang_client import ServerClient, ServerError, ServerUnreachable
from evo_jax.rollouts.sglang_dispatch import DispatchSettings
from evo_jax.rollouts.sglang_fleet import FleetSettings
from evo_jax.rollouts.weight_transport import DirectoryTransport
from tests.evo_jax.rollouts.recorded_server import RecordedServer
from tests.evo_jax.rollouts.tiny_policy import TINY, byte_tokenizer, tiny_decoder

BUCKET = "gs://bucket"


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return tiny_decoder(TINY)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in a bucket's place: gs:// paths are looked up there, which is all that is doubled."""
    real = bucket_transport.epath.Path
    there = lambda path: real(str(path).replace(BUCKET, str(tmp_path / "bucket")))  # noqa: E731
    monkeypatch.setattr(bucket_transport.epath, "Path", there)
    return tmp_path / "bucket"


@pytest.fixture
def server() -> Iterator[RecordedServer]:
    with RecordedServer() as made:
        yield made


@pytest.fixture
def url(server: RecordedServer, tmp_path: Path) -> Iterator[str]:
    fetcher = fetching_server(server.url, tmp_path / "far", "127.0.0.1", 0)
    threading.Thread(target=fetcher.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{fetcher.server_port}"
    fetcher.shutdown()
    fetcher.server_close()


class GoogleBucket(BucketTransport):
    """Tells servers of gs://, as the real thing would."""

    def publish(self, params: nnx.State, version: int) -> Any:
        weights = super().publish(params, version)
        at = weights.source.index("evoenv-weights")
        return dataclasses.replace(weights, source=f"{BUCKET}/{weights.source[at:]}")


def engine(url: str, scratch: Path) -> SGLangEngine:
    local = DirectoryTransport(TINY, byte_tokenizer(), dtype="float32", parent=scratch / "local")
    fleet = FleetSettings(urls=(url,), capacity=8, return_timeout_s=1.0, check_weights="every", max_restarts=0)
    settings = SGLangSettings(fleet, DispatchSettings(60.0, 30.0), max_prompt_tokens=64)
    return SGLangEngine(TINY, byte_tokenizer(), GoogleBucket(local, BUCKET), settings)


def test_every_version_reaches_the_server_through_the_bucket(
    decoder: Decoder, server: RecordedServer, url: str, bucket: Path, tmp_path: Path
) -> None:
    ours = engine(url, tmp_path)
    for version, step in enumerate((0.0, 1e-7, 2e-7)):
        params = jax.tree.map(lambda value, step=step: value + step, nnx.state(decoder))
        ours.load_weights(params, version)  # compared by the server's checksums of what it was told to load
        group = ours.generate([RolloutRequest("a", (5, 6), 2, 0, SamplingParams(8, stop=("e",)))])[0]
        assert [completion.policy_version for completion in group] == [version] * 2
        assert server.directory is not None
        assert server.directory.parent == tmp_path / "far"
    # The version in use, and the whole one that it and the next are made from.
    assert len(list((tmp_path / "far").iterdir())) == 2
    assert sorted(path.name for path in bucket.glob("*/version-*")) == ["version-0", "version-2"]
    ours.close()
    assert list(bucket.iterdir()) == []


def test_weights_that_can_not_be_fetched_are_an_error_in_words(
    decoder: Decoder, server: RecordedServer, url: str, bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = engine(url, tmp_path)

    def failing(source: str, parent: Path) -> tuple[Path, Path]:
        raise RolloutError(f"{source}: the weights can't be fetched: no such bucket")

    monkeypatch.setattr(fetch_weights, "fetch", failing)
    with pytest.raises(RolloutError, match="no such bucket"):
        ours.load_weights(nnx.state(decoder), 0)
    assert server.asked("/update_weights_from_disk") == 0
    ours.close()


def test_all_else_is_passed_on_as_it_is(server: RecordedServer, url: str) -> None:
    client = ServerClient(url)
    assert client.call("/health", timeout_s=10.0) is None
    assert client.call_object("/server_info", timeout_s=10.0)["version"] == "0.5.23"
    client.call("/update_weights_from_disk", {"model_path": "/local", "weight_version": "v"}, timeout_s=10.0)
    assert server.calls[-1] == ("/update_weights_from_disk", {"model_path": "/local", "weight_version": "v"})


def test_a_caller_who_hangs_up_is_not_waited_for_and_a_server_that_is_gone_is_an_error(
    server: RecordedServer, url: str
) -> None:
    server.interfere = lambda route, body: server.hang() if route == "/generate" else None
    client = ServerClient(url)
    raised: list[Exception] = []

    def ask() -> None:
        try:
            client.call("/generate", {"sampling_params": {"n": 1}}, timeout_s=60.0)
        except ServerUnreachable as error:
            raised.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    while not server.asked("/generate"):
        threading.Event().wait(0.01)
    client.drop_calls()
    asking.join()
    assert len(raised) == 1
    server.kill()
    with pytest.raises(ServerError, match="502"):
        client.call("/health", timeout_s=10.0)


def test_a_port_in_use_is_a_clear_mistake(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "evo_jax.fetch_weights", f"--port={port}", f"--local_dir={tmp_path / 'here'}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert f"cannot listen at 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "here").iterdir()) == []
