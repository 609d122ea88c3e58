"""The routes and the gate over EngineDouble, a double of sglang-jax's Engine, asked by our own SGLang engine."""

import dataclasses
import http.client
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from evo_jax.policy.huggingface_writing import save_huggingface
from evo_jax.rollouts.protocol import RolloutError, RolloutRequest, SamplingParams
from evo_jax.rollouts.sglang import SGLangEngine, SGLangSettings
from evo_jax.rollouts.sglang_client import ServerClient, ServerRefused
from evo_jax.rollouts.sglang_dispatch import DispatchSettings
from evo_jax.rollouts.sglang_fleet import FleetSettings
from evo_jax.rollouts.weight_transport import DirectoryTransport, PublishedWeights, stored_tensors
from sglang_tpu.engine import HeldEngine, RequestError
from sglang_tpu.routes import http_server
from sglang_tpu.weights import WeightsError
from tests.evo_jax.rollouts.tiny_policy import TINY, byte_tokenizer, tiny_decoder
from tests.sglang_tpu.engine_double import EngineDouble

QWEN2 = dataclasses.replace(TINY, family="qwen2", attention_bias=True)
ABOUT = {"version": "double", "device": "jax double", "dtype": "float32", "tp_size": 1, "max_req_input_len": 250}


@pytest.fixture(scope="module")
def params() -> nnx.State:
    return nnx.state(tiny_decoder(TINY))


def changed(params: nnx.State, scale: float) -> nnx.State:
    return jax.tree.map(lambda value: scale * value, params)


@pytest.fixture
def double(params: nnx.State, tmp_path: Path) -> Iterator[EngineDouble]:
    save_huggingface(tmp_path / "first", TINY, changed(params, 0.5), byte_tokenizer())
    with EngineDouble(TINY, tmp_path / "first") as made:
        yield made


@pytest.fixture
def url(double: EngineDouble) -> Iterator[str]:
    server = http_server(double.held, ABOUT, "127.0.0.1", 0)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def engine(url: str, parent: Path, transport: type[DirectoryTransport] = DirectoryTransport) -> SGLangEngine:
    fleet = FleetSettings(urls=(url,), capacity=8, return_timeout_s=1.0, check_weights="every", max_restarts=0)
    settings = SGLangSettings(fleet, DispatchSettings(60.0, 30.0), max_prompt_tokens=64)
    return SGLangEngine(TINY, byte_tokenizer(), transport(TINY, byte_tokenizer(), dtype="float32", parent=parent), settings)


def requests(count: int, group_size: int = 2) -> list[RolloutRequest]:
    return [RolloutRequest(str(n), (5 + n, 6), group_size, n, SamplingParams(3)) for n in range(count)]


def tokens(groups: list[list[Any]]) -> list[list[int]]:
    return [completion.tokens.tolist() for group in groups for completion in group]


# ---- through our engine ------------------------------------------------------------------------------------------------


def test_every_version_is_compared_row_by_row_and_shows_in_what_is_sampled(
    double: EngineDouble, url: str, params: nnx.State, tmp_path: Path
) -> None:
    ours = engine(url, tmp_path / "weights")
    seen = []
    for version, scale in enumerate((1.0, 1.1, 1.2)):
        ours.load_weights(changed(params, scale), version)
        groups = ours.generate(requests(3))
        assert [len(group) for group in groups] == [2, 2, 2]
        assert {completion.policy_version for group in groups for completion in group} == {version}
        assert all(completion.logprobs.tolist() == [-1.0] * 3 for group in groups for completion in group)
        assert tokens(groups) == [[double.step([5 + n, 6])] * 3 for n in range(3) for _ in range(2)]
        seen.append(tokens(groups))
    assert seen[0] != seen[1] != seen[2]
    ours.close()


@pytest.mark.parametrize("is_in_prompt", [False, True], ids=["members", "prompt"])
def test_a_group_that_was_stopped_is_gone_on_with_under_the_next_weights(
    is_in_prompt: bool, double: EngineDouble, url: str, params: nnx.State, tmp_path: Path
) -> None:
    ours = engine(url, tmp_path / "weights")
    ours.load_weights(params, 0)
    double.holds = lambda name: name.endswith("-prompt") == is_in_prompt
    double.held_back.set()
    (begun,) = ours.generate(requests(1), should_stop=lambda: any(map(double.holds, double.under_way)))
    done = 0 if is_in_prompt else 1
    assert [(len(completion.tokens), completion.finish_reason) for completion in begun] == [(done, "abort")] * 2
    double.held_back.clear()
    ours.load_weights(changed(params, 1.1), 1)
    (group,) = ours.generate([dataclasses.replace(requests(1)[0], begun=tuple(begun))])
    for before, completion in zip(begun, group, strict=True):
        assert completion.policy_versions.tolist() == [0] * done + [1] * (3 - done)
        rest = [double.step([5, 6, *before.tokens.tolist()])] * (3 - done)
        assert completion.tokens.tolist() == [*before.tokens.tolist(), *rest]
    ours.close()


class Wrong(DirectoryTransport):
    """A double: publishes a sound version, then does `damage` to it."""

    damage = staticmethod(lambda path: None)

    def publish(self, params: nnx.State, version: int) -> PublishedWeights:
        sound = super().publish(params, version)
        type(self).damage(sound.directory / "model.safetensors")
        return sound


def misname(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"model.layers.1.mlp.up_proj", b"model.layers.1.mlp.uq_proj"))


def reshape(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"shape": [48]', b'"shape": [24]', 1))


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (misname, "not this model's tensors.*uq_proj"),
        (reshape, r"has shape \[24\], this model's has \[48\]"),
        (lambda path: os.truncate(path, 5000), "cut short|can't be read"),
        (lambda path: path.unlink(), r"no \*\.safetensors"),
    ],
    ids=["misnamed", "reshaped", "cut short", "gone"],
)
def test_a_directory_that_is_not_the_policy_is_refused_and_the_old_weights_go_on(
    damage: Any, named: str, double: EngineDouble, url: str, params: nnx.State, tmp_path: Path
) -> None:
    good = engine(url, tmp_path / "good")
    good.load_weights(params, 0)
    before, label = tokens(good.generate(requests(2))), double.held.label
    kind = type("Damaged", (Wrong,), {"damage": staticmethod(damage)})
    bad = engine(url, tmp_path / "bad", kind)
    with pytest.raises(RolloutError, match=named):
        bad.load_weights(changed(params, 3.0), 0)
    assert double.held.label == label
    assert tokens(good.generate(requests(2))) == before
    good.close()
    bad.close()


def test_a_load_that_breaks_off_leaves_the_old_weights_whole(
    double: EngineDouble, url: str, params: nnx.State, tmp_path: Path
) -> None:
    good = engine(url, tmp_path / "good")
    good.load_weights(params, 0)
    before, path = tokens(good.generate(requests(2))), double.held.model_path
    double.loader.breaks_at = "model.norm.weight"
    other = engine(url, tmp_path / "other")
    with pytest.raises(RolloutError, match=r"no memory for model\.norm\.weight"):
        other.load_weights(changed(params, 3.0), 0)
    assert double.held.model_path == path == double.loader.model_config.model_path
    assert tokens(good.generate(requests(2))) == before
    shown = double.held.rows("model.layers.0.mlp.up_proj.weight", 96)
    expected = stored_tensors(Path(path))["model.layers.0.mlp.up_proj.weight"].read()
    np.testing.assert_array_equal(shown, expected)
    good.close()
    other.close()


# ---- the gate ----------------------------------------------------------------------------------------------------------


def ask(held: HeldEngine, count: int = 2) -> tuple[threading.Thread, list[Any]]:
    """A group asked for in a thread, and where its answers appear."""
    answers: list[Any] = []
    body = {"input_ids": [5, 6], "sampling_params": {"n": count, "max_new_tokens": 3}}
    thread = threading.Thread(target=lambda: answers.extend(held.generate(body)))
    thread.start()
    return thread, answers


def until(condition: Any) -> None:
    done = threading.Event()
    while not condition():
        done.wait(0.01)


def test_new_weights_wait_for_what_is_under_way_and_hold_back_what_is_not(
    double: EngineDouble, params: nnx.State, tmp_path: Path
) -> None:
    save_huggingface(tmp_path / "next", TINY, params, byte_tokenizer())
    double.held_back.set()
    early, before = ask(double.held)
    until(lambda: double.under_way)
    loading = threading.Thread(target=lambda: double.held.load(tmp_path / "next", "new"))
    loading.start()
    until(lambda: double.held._is_paused)
    late, after = ask(double.held)
    assert double.held.label == "default"
    double.held_back.clear()
    for thread in (early, loading, late):
        thread.join()
    assert [answer["meta_info"]["weight_version"] for answer in before] == ["default"] * 2
    assert [answer["meta_info"]["weight_version"] for answer in after] == ["new"] * 2
    assert after[0]["meta_info"]["weight_versions"] == [{"version": "new", "start": 0, "end": 3}]
    assert before[0]["output_ids"] != after[0]["output_ids"]


def test_a_pause_outlasts_a_load_until_it_is_ended(double: EngineDouble, params: nnx.State, tmp_path: Path) -> None:
    save_huggingface(tmp_path / "next", TINY, params, byte_tokenizer())
    double.held.pause("in_place")
    double.held.load(tmp_path / "next", "new")
    thread, answers = ask(double.held)
    assert double.held._is_paused
    double.held.resume()
    thread.join()
    assert answers[0]["meta_info"]["weight_version"] == "new"


def test_a_pause_that_aborts_ends_what_is_under_way(double: EngineDouble) -> None:
    double.held_back.set()
    thread, _ = ask(double.held, count=1)
    until(lambda: double.under_way)
    double.held.pause("abort")
    thread.join()
    assert not double.under_way
    double.held.resume()


def test_caches_that_can_not_be_emptied_stop_a_load_before_anything_changed(
    double: EngineDouble, params: nnx.State, tmp_path: Path
) -> None:
    save_huggingface(tmp_path / "next", TINY, params, byte_tokenizer())
    double.has_room = False
    before = double.step([5])
    with pytest.raises(WeightsError, match="caches"):
        double.held.load(tmp_path / "next", "new")
    assert (double.held.label, double.step([5])) == ("default", before)
    assert not double.held._is_paused


def test_a_group_shares_one_pass_over_its_prompt_and_is_drawn_side_by_side(double: EngineDouble) -> None:
    double.held_back.set()
    thread, _ = ask(double.held, count=3)
    until(lambda: double.under_way)
    assert [name.rsplit("-", 1)[1] for name in double.under_way] == ["prompt"]
    double.held_back.clear()
    thread.join()
    assert double.most_under_way == 3


def test_a_caller_who_hung_up_is_aborted(double: EngineDouble, url: str) -> None:
    double.held_back.set()
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    body = json.dumps({"input_ids": [5], "sampling_params": {"max_new_tokens": 3}})
    connection.request("POST", "/generate", body)
    until(lambda: double.under_way)
    connection.close()
    until(lambda: double.aborted)
    until(lambda: not double.under_way)
    assert ServerClient(url).is_alive(10.0)


# ---- what is refused ---------------------------------------------------------------------------------------------------


def test_what_it_does_not_serve_is_refused_in_words(url: str) -> None:
    client = ServerClient(url)
    bodies: list[tuple[str, dict[str, Any], str]] = [
        ("/generate", {"input_ids": [5, 300], "sampling_params": {"max_new_tokens": 3}}, r"\[0, 300\)"),
        ("/generate", {"input_ids": [], "sampling_params": {"max_new_tokens": 3}}, "input_ids"),
        ("/generate", {"text": "hello"}, "input_ids"),
        ("/generate", {"input_ids": [[5], [6]], "sampling_params": [{"max_new_tokens": 3}]}, "2 prompts with 1"),
        ("/generate", {"input_ids": [5], "sampling_params": {"presence_penalty": 1.0}}, "presence_penalty is not served"),
        ("/generate", {"input_ids": [5] * 300, "sampling_params": {"max_new_tokens": 3}}, "context length"),
        ("/get_weights_by_name", {"name": "model.norm.wrong"}, "no tensor"),
        ("/get_weights_by_name", {}, "name"),
        ("/pause_generation", {"mode": "now"}, "mode 'now'"),
        ("/v1/completions", {}, "not served here"),
    ]
    for route, body, named in bodies:
        with pytest.raises(ServerRefused, match=named):
            client.call(route, body, timeout_s=10.0)


def test_it_says_what_it_is(double: EngineDouble, url: str) -> None:
    client = ServerClient(url)
    assert client.call_object("/server_info", timeout_s=10.0).items() >= {**ABOUT, "weight_version": "default"}.items()
    assert client.call_object("/get_model_info", timeout_s=10.0)["weight_version"] == "default"
    assert client.call_object("/get_weight_version", timeout_s=10.0) == {"weight_version": "default"}
    assert client.is_healthy(10.0)
    assert client.call("/health", timeout_s=10.0) is None
    assert client.call("/flush_cache", {}, timeout_s=10.0) is None


def test_a_model_whose_tensors_it_could_not_compare_is_not_served(params: nnx.State, tmp_path: Path) -> None:
    save_huggingface(tmp_path / "first", TINY, params, byte_tokenizer())
    with EngineDouble(TINY, tmp_path / "first") as double:
        parts = double.held._parts
        known = dict(parts.load.mappings)
        del known["model.norm.weight"]
        with pytest.raises(WeightsError, match=r"unknown: \['model\.norm\.weight'\]"):
            HeldEngine(dataclasses.replace(parts, load=dataclasses.replace(parts.load, mappings=known)), double.loop)
        with pytest.raises(RequestError, match="no tensor"):
            double.held.rows("model.norm.wrong", 2)


@pytest.mark.parametrize("config", [TINY, QWEN2], ids=["llama", "qwen2"])
def test_tensors_are_shown_as_they_were_published_heads_and_all(config: Any, tmp_path: Path) -> None:
    """Biases of padded, repeated heads too."""
    save_huggingface(tmp_path / "first", config, nnx.state(tiny_decoder(config)), byte_tokenizer())
    with EngineDouble(config, tmp_path / "first") as double:
        for name, tensor in stored_tensors(tmp_path / "first").items():
            for rows in (2, 1000):
                np.testing.assert_array_equal(double.held.rows(name, rows), tensor.read()[:rows], err_msg=name)
