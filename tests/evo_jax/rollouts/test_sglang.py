"""The engine against RecordedServer, a double that replays recorded answers; tests/integration has the real server."""

import dataclasses
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx

from evo_jax.policy.decoder import Decoder
from evo_jax.policy.model_config import ModelConfig
from evo_jax.rollouts.protocol import RolloutError, RolloutRequest, SamplingParams
from evo_jax.rollouts.sglang import SGLangEngine, SGLangSettings
from evo_jax.rollouts.sglang_dispatch import DispatchSettings
from evo_jax.rollouts.sglang_fleet import FleetSettings
from evo_jax.rollouts.weight_transport import DirectoryTransport, PublishedWeights
from tests.evo_jax.rollouts.recorded_server import ANSWERS, RecordedServer
from tests.evo_jax.rollouts.tiny_policy import TINY, byte_tokenizer

RECORDED = [[pair[1] for pair in member["meta_info"]["output_token_logprobs"]] for member in ANSWERS["/generate"]["body"]]


class BreakingTransport(DirectoryTransport):
    """A double: publishes a sound version, then does `damage` to it before any server hears of it."""

    damage: Callable[[PublishedWeights], PublishedWeights] = staticmethod(lambda weights: weights)

    def publish(self, params: nnx.State, version: int) -> PublishedWeights:
        return type(self).damage(super().publish(params, version))


def make(
    servers: list[RecordedServer], parent: Path, *, transport: type[DirectoryTransport] = DirectoryTransport, **options: Any
) -> SGLangEngine:
    fleet = {"urls": tuple(server.url for server in servers), "capacity": 8, "return_timeout_s": 10.0}
    dispatch = {"request_timeout_s": 60.0, "health_interval_s": 30.0}
    for name, value in options.items():
        (fleet if name in FleetSettings.__dataclass_fields__ else dispatch)[name] = value
    config: ModelConfig = TINY
    settings = SGLangSettings(FleetSettings(**fleet), DispatchSettings(**dispatch), max_prompt_tokens=64)
    return SGLangEngine(config, byte_tokenizer(), transport(config, byte_tokenizer(), dtype="float32", parent=parent), settings)


def requests(count: int, group_size: int = 2, limit: int = 8) -> list[RolloutRequest]:
    return [RolloutRequest(str(n), (5 + n, 6, 7), group_size, n, SamplingParams(limit, stop=("e",))) for n in range(count)]


def whole(results: list[list[Any]], asked: list[RolloutRequest], version: int = 0) -> None:
    """Every group there, complete, and the recorded completions in it."""
    assert [len(group) for group in results] == [request.group_size for request in asked]
    for group in results:
        for place, completion in enumerate(group):
            assert completion.tokens.tolist() == RECORDED[place % len(RECORDED)]
            assert completion.finish_reason == "stop"
            assert completion.policy_version == version


@pytest.fixture
def params(decoder: Decoder) -> nnx.State:
    return nnx.state(decoder)


def test_groups_come_back_in_order_from_many_servers(params: nnx.State, tmp_path: Path) -> None:
    with RecordedServer() as first, RecordedServer() as second:
        engine = make([first, second], tmp_path)
        assert engine.policy_version == -1
        engine.load_weights(params, 0)
        seen = []
        asked = [*requests(20), *requests(3, group_size=16)]
        whole(engine.generate(asked, lambda *progress: seen.append(progress)), asked)
        assert first.asked("/generate") + second.asked("/generate") == 23
        assert min(first.asked("/generate"), second.asked("/generate")) > 3
        assert max(first.most_at_once, second.most_at_once) <= 4  # groups of two in a capacity of eight
        assert seen[-1] == (88, 88, engine.stats.generated_tokens)
        assert engine.stats.completions == 88
        engine.close()
        with pytest.raises(RolloutError, match="closed"):
            engine.generate(asked)


def test_every_server_gets_every_version_and_old_ones_are_deleted(params: nnx.State, tmp_path: Path) -> None:
    with RecordedServer() as first, RecordedServer() as second:
        engine = make([first, second], tmp_path)
        for version in (0, 1, 5):
            engine.load_weights(params, version)
            assert engine.policy_version == version
            whole(engine.generate(requests(4)), requests(4), version)
        for server in (first, second):
            routes = [route for route, _ in server.calls if route != "/generate"]
            sync = ["/pause_generation", "/update_weights_from_disk", "/continue_generation", "/model_info"]
            assert routes == ["/health_generate", *sync, "/server_info", "/weights_checker", *sync, *sync]
            bodies = [body for route, body in server.calls if route == "/update_weights_from_disk"]
            assert [body["weight_version"].rsplit("-", 1)[1] for body in bodies] == ["0", "1", "5"]
            assert all(body["flush_cache"] is True for body in bodies)
        assert [path.name for path in tmp_path.glob("*/version-*")] == ["version-5"]
        engine.close()
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        (RolloutRequest("far", (5,) * 65, 1, 0, SamplingParams(4)), "65 tokens"),
        (RolloutRequest("long", (5,) * 60, 1, 0, SamplingParams(250)), "positions"),
        (RolloutRequest("odd", (5, TINY.vocab_size), 1, 0, SamplingParams(4)), "outside"),
        (RolloutRequest("odd", (-1,), 1, 0, SamplingParams(4)), "outside"),
    ],
)
def test_what_would_harm_a_server_is_never_sent(
    request_: RolloutRequest, named: str, params: nnx.State, tmp_path: Path
) -> None:
    with RecordedServer() as server:
        engine = make([server], tmp_path)
        with pytest.raises(RolloutError, match="no weights"):
            engine.generate([request_])
        engine.load_weights(params, 0)
        with pytest.raises(RolloutError, match=named):
            engine.generate([*requests(1), request_])
        assert server.asked("/generate") == 0
        engine.close()


def test_a_refused_request_is_an_error_in_the_servers_words(params: nnx.State, tmp_path: Path) -> None:
    refusal = ANSWERS["too long"]
    with RecordedServer(lambda route, body: (refusal["status"], refusal["body"]) if route == "/generate" else None) as server:
        engine = make([server], tmp_path)
        engine.load_weights(params, 0)
        with pytest.raises(RolloutError, match=r"request 0 was refused.*context length"):
            engine.generate(requests(1))
        engine.close()


# ---- failures while sampling -------------------------------------------------------------------------------------------


def once(*actions: Callable[[], Any]) -> Callable[[str, Any], Any]:
    """Interferes with the first /generate calls, one action each."""
    left = list(actions)
    lock = threading.Lock()

    def interfere(route: str, body: Any) -> Any:
        if route != "/generate":
            return None
        with lock:
            action = left.pop(0) if left else None
        return action() if action is not None else None

    return interfere


def test_a_killed_server_loses_no_group(params: nnx.State, tmp_path: Path) -> None:
    with RecordedServer() as first, RecordedServer() as second:
        first.interfere = once(lambda: threading.Thread(target=first.kill).start() or first.hang() or (500, None))
        engine = make([first, second], tmp_path, max_restarts=0)
        engine.load_weights(params, 0)
        whole(engine.generate(requests(12)), requests(12))
        whole(engine.generate(requests(3)), requests(3))
        engine.load_weights(params, 1)  # the dead one is dropped, not asked again
        whole(engine.generate(requests(3)), requests(3), 1)
        engine.close()


def test_a_server_that_came_back_without_weights_gets_them_again(params: nnx.State, tmp_path: Path) -> None:
    def restart() -> Any:
        server.kill()
        server.start_again()
        return 500, None

    with RecordedServer() as server:
        server.interfere = once(restart)
        engine = make([server], tmp_path)
        engine.load_weights(params, 0)
        whole(engine.generate(requests(6)), requests(6))
        assert server.asked("/update_weights_from_disk") == 2
        assert server.asked("/weights_checker") == 2
        engine.close()


def test_the_last_server_gone_is_an_error_and_no_hang(params: nnx.State, tmp_path: Path) -> None:
    with RecordedServer() as server:
        server.interfere = once(lambda: threading.Thread(target=server.kill).start() or server.hang() or (500, None))
        engine = make([server], tmp_path, return_timeout_s=1.0)
        engine.load_weights(params, 0)
        with pytest.raises(RolloutError, match=r"no SGLang server is left.*not reachable"):
            engine.generate(requests(6))
        engine.close()


def test_a_hung_server_is_noticed_by_its_silence_and_its_groups_go_elsewhere(params: nnx.State, tmp_path: Path) -> None:
    hung = threading.Event()

    def hang(route: str, body: Any) -> Any:
        if route == "/generate":
            hung.set()
        if hung.is_set():
            first.hang()
        return None

    with RecordedServer() as first, RecordedServer() as second:
        engine = make([first, second], tmp_path, health_interval_s=0.2, return_timeout_s=1.0)
        engine.load_weights(params, 0)
        first.interfere = hang
        whole(engine.generate(requests(12)), requests(12))
        assert hung.is_set()
        engine.close()


def test_a_slow_server_is_waited_for_while_it_is_healthy(params: nnx.State, tmp_path: Path) -> None:
    def be_slow() -> None:
        deadline = time.monotonic() + 30
        while server.asked("/server_info") < 2 and time.monotonic() < deadline:
            time.sleep(0.05)

    with RecordedServer() as server:
        server.interfere = once(be_slow, be_slow)
        # The health of a server is asked for with a limit of twice this: a loaded machine must be able to keep it.
        engine = make([server], tmp_path, health_interval_s=0.5)
        engine.load_weights(params, 0)
        whole(engine.generate(requests(2)), requests(2))
        assert server.asked("/generate") == 2
        assert server.asked("/server_info") > 1
        assert server.asked("/update_weights_from_disk") == 1
        engine.close()


def test_a_full_server_is_asked_again_and_not_blamed(params: nnx.State, tmp_path: Path) -> None:
    full = (503, {"detail": "The request queue is full."})
    with RecordedServer(once(*[lambda: full] * 5)) as server:
        engine = make([server], tmp_path, max_attempts=1)
        engine.load_weights(params, 0)
        whole(engine.generate(requests(4)), requests(4))
        assert server.asked("/update_weights_from_disk") == 1
        engine.close()
    with RecordedServer(lambda route, body: full if route == "/generate" else None) as server:
        engine = make([server], tmp_path, request_timeout_s=1.0)
        engine.load_weights(params, 0)
        with pytest.raises(RolloutError, match=r"turned away for 1 s.*queue is full"):
            engine.generate(requests(1))
        engine.close()


def test_rollouts_of_another_version_are_never_kept(params: nnx.State, tmp_path: Path) -> None:
    def meddle() -> None:
        server.version = "someone-elses-0"

    with RecordedServer() as server:
        server.interfere = once(meddle)
        engine = make([server], tmp_path)
        engine.load_weights(params, 0)
        whole(engine.generate(requests(6)), requests(6))
        assert server.asked("/update_weights_from_disk") == 2
        # One that takes the weights of another run each time is given up, with a reason.
        server.interfere = lambda route, body: meddle() if route == "/generate" else None
        with pytest.raises(RolloutError, match="someone-elses"):
            engine.generate(requests(6))
        engine.close()


def test_a_group_that_always_fails_is_an_error_that_names_it(params: nnx.State, tmp_path: Path) -> None:
    def fail(route: str, body: Any) -> Any:
        return (500, {"error": {"message": "no"}}) if route == "/generate" and body["input_ids"][0] == 7 else None

    with RecordedServer(fail) as server:
        engine = make([server], tmp_path, max_attempts=3)
        engine.load_weights(params, 0)
        with pytest.raises(RolloutError, match="request 2 failed 3 times"):
            engine.generate(requests(5))
        whole(engine.generate(requests(2)), requests(2))  # the engine lives on
        engine.close()


def test_closing_ends_a_generate_elsewhere_with_aborted_completions(params: nnx.State, tmp_path: Path) -> None:
    with RecordedServer() as server:
        started = threading.Event()
        server.interfere = once(lambda: None, lambda: started.set() or server.hang())
        engine = make([server], tmp_path, capacity=2, health_interval_s=60.0)
        engine.load_weights(params, 0)
        results: list[Any] = []
        thread = threading.Thread(target=lambda: results.extend(engine.generate(requests(3))))
        thread.start()
        assert started.wait(30)
        engine.close()
        thread.join(30)
        assert not thread.is_alive()
        whole(results[:1], requests(1))
        for group in results[1:]:
            assert [completion.finish_reason for completion in group] == ["abort"] * 2
            assert all(len(completion.tokens) == 0 for completion in group)


# ---- failures of a weight sync -----------------------------------------------------------------------------------------


def test_no_server_is_an_error_that_names_it(params: nnx.State, tmp_path: Path) -> None:
    server = RecordedServer()
    server.kill()
    engine = make([server], tmp_path, return_timeout_s=1.0)
    with pytest.raises(RolloutError, match=f"{server.url}: not reachable"):
        engine.load_weights(params, 0)
    assert engine.policy_version == -1
    engine.close()


def test_a_server_that_refuses_the_weights_is_dropped_and_the_rest_go_on(params: nnx.State, tmp_path: Path) -> None:
    refusal = ANSWERS["no such directory"]

    def refuse(route: str, body: Any) -> Any:
        return (refusal["status"], refusal["body"]) if route == "/update_weights_from_disk" else None

    with RecordedServer(refuse) as first, RecordedServer() as second:
        engine = make([first, second], tmp_path)
        engine.load_weights(params, 0)
        whole(engine.generate(requests(6)), requests(6))
        assert first.asked("/generate") == 0
        assert first.asked("/continue_generation") == first.asked("/pause_generation") == 3
        engine.close()


def test_a_server_that_keeps_its_old_version_is_not_asked(params: nnx.State, tmp_path: Path) -> None:
    def pretend(route: str, body: Any) -> Any:
        answer = ANSWERS["/update_weights_from_disk"]
        return (answer["status"], answer["body"]) if route == "/update_weights_from_disk" else None

    with RecordedServer(pretend) as server:
        engine = make([server], tmp_path)
        with pytest.raises(RolloutError, match="has weight version default"):
            engine.load_weights(params, 0)
        engine.close()


def test_a_misnamed_tensor_is_noticed_at_the_first_sync(params: nnx.State, tmp_path: Path) -> None:
    """The server loads what it knows and keeps the rest: here the double says so, with the checksum of other values."""

    def stale(route: str, body: Any) -> Any:
        if route != "/weights_checker":
            return None
        status, answer = server.recorded(route, body)
        answer["ranks"][0]["checksums"]["model.norm.weight"] = "0" * 16
        return status, answer

    with RecordedServer(stale) as server:
        engine = make([server], tmp_path)
        with pytest.raises(RolloutError, match=r"values of model\.norm\.weight"):
            engine.load_weights(params, 0)
        engine.close()


def test_a_server_without_one_of_the_tensors_is_noticed(params: nnx.State, tmp_path: Path) -> None:
    def lacking(route: str, body: Any) -> Any:
        if route != "/weights_checker":
            return None
        status, answer = server.recorded(route, body)
        del answer["ranks"][0]["checksums"]["model.layers.1.self_attn.qkv_proj.weight"]
        return status, answer

    with RecordedServer(lacking) as server:
        engine = make([server], tmp_path)
        with pytest.raises(RolloutError, match=r"missing: \['model\.layers\.1\.self_attn\.qkv_proj\.weight'\]"):
            engine.load_weights(params, 0)
        engine.close()


def test_elsewhere_than_on_one_cpu_the_first_rows_are_compared(params: nnx.State, tmp_path: Path) -> None:
    wrong = threading.Event()

    def sharded(route: str, body: Any) -> Any:
        if route == "/server_info":
            return 200, {"device": "cuda", "tp_size": 2, "dtype": "bfloat16"}
        if route == "/get_weights_by_name":
            if blind.is_set():
                return ANSWERS["unknown tensor"]["status"], ANSWERS["unknown tensor"]["body"]
            if wrong.is_set() and body["name"] == "model.layers.0.mlp.up_proj.weight":
                return ANSWERS["unknown tensor"]["status"], ANSWERS["unknown tensor"]["body"]
            rows = published[-1].tensors[body["name"]].read(body["truncate_size"])
            return 200, rows.astype("bfloat16").astype(np.float32).tolist()
        return None

    blind = threading.Event()
    published: list[PublishedWeights] = []

    class Remembering(DirectoryTransport):
        def publish(self, params: nnx.State, version: int) -> PublishedWeights:
            published.append(super().publish(params, version))
            return published[-1]

    with RecordedServer(sharded) as server:
        engine = make([server], tmp_path, transport=Remembering, check_weights="every")
        engine.load_weights(params, 0)
        assert server.asked("/get_weights_by_name") == 1 + len(published[0].tensors)  # the first asks whether any is shown
        wrong.set()
        with pytest.raises(RolloutError, match=r"does not know the tensor model\.layers\.0\.mlp\.up_proj"):
            engine.load_weights(params, 1)
        # A family that SGLang shows no values of: names alone, and where not even those are shown, an error at once.
        engine.close()
        wrong.clear()
        blind.set()
        engine = make([server], tmp_path, transport=Remembering)
        engine.load_weights(params, 0)
        checked = server.asked("/weights_checker")
        assert checked > 0
        engine.close()
        absent = (404, {"detail": "Not Found"})
        server.interfere = lambda route, body: absent if route == "/weights_checker" else sharded(route, body)
        engine = make([server], tmp_path, transport=Remembering)
        with pytest.raises(RolloutError, match=r"sglang\.check_weights"):
            engine.load_weights(params, 0)
        assert server.asked("/weights_checker") == checked + 1
        engine.close()


TOKENS = [50, 51, 52, 53]


class Abortable:
    """A double of a server that is told to abort: a call waits until then, and answers with what it has: two tokens of the
    first member, nothing of the others. `lets_through` calls are answered whole at once."""

    def __init__(self, lets_through: int = 0) -> None:
        self.server: RecordedServer | None = None
        self.lets_through = lets_through
        self.told = threading.Event()

    def __call__(self, route: str, body: Any) -> tuple[int, Any] | None:
        assert self.server is not None
        if route == "/abort_request":
            assert body == {"abort_all": True}
            self.told.set()
            return 200, None
        if route != "/generate":
            return None
        prompts = body["input_ids"] if isinstance(body["input_ids"][0], list) else [body["input_ids"]]
        params = body["sampling_params"] if isinstance(body["sampling_params"], list) else [body["sampling_params"]]
        if len(prompts) == 1 and params[0]["n"] > 1:
            prompts, params = prompts * params[0]["n"], params * params[0]["n"]
        if self.lets_through > 0:
            self.lets_through -= 1
            return 200, [self.member(TOKENS[len(prompt) - 3 :], "stop") for prompt in prompts]
        assert self.told.wait(30)
        return 200, [self.member(TOKENS[:2] if place == 0 else [], "abort") for place in range(len(prompts))]

    def member(self, tokens: list[int], reason: str) -> dict[str, Any]:
        assert self.server is not None
        meta = {"finish_reason": {"type": reason}, "weight_version": self.server.version, "completion_tokens": len(tokens)}
        return {"text": "", "meta_info": {**meta, "output_token_logprobs": [[-1.0, token, None] for token in tokens]}}


def test_stopped_the_servers_abort_and_what_they_had_is_gone_on_with_under_the_next_version(
    decoder: Decoder, tmp_path: Path
) -> None:
    aborting = Abortable(lets_through=1)
    with RecordedServer(aborting) as server:
        aborting.server = server
        engine = make([server], tmp_path, capacity=4)
        engine.load_weights(nnx.state(decoder), 0)
        asked, finished = requests(5), {}
        found = engine.generate(asked, on_group=finished.__setitem__, should_stop=lambda: bool(finished))
        ((done, group),) = finished.items()
        assert found[done] is group
        left = [place for place in range(5) if place != done]
        # Two groups find room, and one of them is answered; the others wait or were never sent.
        sizes = [[len(completion.tokens) for completion in found[place]] for place in left]
        assert [2, 0] in sizes
        assert all(size in ([2, 0], [0, 0]) for size in sizes)
        assert {completion.finish_reason for place in left for completion in found[place]} == {"abort"}
        engine.load_weights(nnx.state(decoder), 1)
        aborting.lets_through = 5
        further = [dataclasses.replace(asked[place], begun=tuple(found[place])) for place in left]
        for before, group in zip(
            [found[place] for place in left], engine.generate(further, should_stop=lambda: False), strict=True
        ):
            for begun, completion in zip(before, group, strict=True):
                kept = len(begun.tokens)
                assert completion.tokens.tolist() == TOKENS
                assert completion.policy_versions.tolist() == [0] * kept + [1] * (len(TOKENS) - kept)
        engine.close()


def test_a_call_that_a_server_lost_while_it_stopped_is_as_it_was_begun(decoder: Decoder, tmp_path: Path) -> None:
    told = threading.Event()

    def failing(route: str, body: Any) -> tuple[int, Any] | None:
        if route == "/abort_request":
            told.set()
            return 500, {"error": "no"}
        return (500, {"error": "gone"}) if route == "/generate" and told.wait(30) else None

    with RecordedServer(failing) as server:
        engine = make([server], tmp_path)
        engine.load_weights(nnx.state(decoder), 0)
        group = engine.generate(requests(1), should_stop=lambda: server.asked("/generate") > 0)[0]
        assert [(len(completion.tokens), completion.finish_reason) for completion in group] == [(0, "abort")] * 2
        told.clear()
        server.interfere = lambda route, body: None
        whole(engine.generate(requests(1)), requests(1))
        engine.close()
