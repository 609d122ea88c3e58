"""Tests of evo_jax/rollouts/sglang_wire.py."""

import copy
import dataclasses
from typing import Any

import pytest

from evo_jax.rollouts.protocol import RolloutRequest, SamplingParams
from evo_jax.rollouts.sglang_client import ServerError
from evo_jax.rollouts.sglang_wire import Reading, WrongWeights, generate_body, read_group
from tests.evo_jax.rollouts.tiny_policy import EOS, byte_tokenizer

TOKENIZER = byte_tokenizer()


def request(group_size: int = 1, limit: int = 8, **sampling: Any) -> RolloutRequest:
    return RolloutRequest("r", (5, 6), group_size, 0, SamplingParams(limit, **sampling))


def member(text: str, *, more: tuple[int, ...] = (), reason: str = "length", version: str = "run-3") -> dict[str, Any]:
    """An answer in SGLang's shape; `more` tokens follow those of `text`."""
    tokens = TOKENIZER.encode(text) + list(more)
    meta = {
        "finish_reason": {"type": reason},
        "weight_version": version,
        "weight_versions": [{"version": version, "start": 0, "end": len(tokens)}],
        "completion_tokens": len(tokens),
        "output_token_logprobs": [[-0.5 - place, token, None] for place, token in enumerate(tokens)],
    }
    return {"text": "what the server's tokenizer makes of it", "meta_info": meta}


def read(answer: Any, asked: RolloutRequest, version: int = 3, *, may_be_aborted: bool = False) -> Any:
    reading = Reading(TOKENIZER, (EOS,), f"run-{version}", version)
    return read_group(answer, asked, reading, may_be_aborted=may_be_aborted)


def test_everything_that_shapes_the_distribution_is_said() -> None:
    body = generate_body(request(4, 9, temperature=0.7, top_k=5, top_p=0.9, stop=("e",)), (EOS, 7))
    assert body["input_ids"] == [5, 6]
    assert body["return_logprob"] is True
    assert body["sampling_params"] == {
        "n": 4,
        "max_new_tokens": 9,
        "temperature": 0.7,
        "top_k": 5,
        "top_p": 0.9,
        "min_p": 0.0,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "repetition_penalty": 1.0,
        "stop": ["e"],
        "stop_token_ids": [EOS, 7],
    }
    assert generate_body(request(), ())["sampling_params"]["top_k"] == -1


def test_a_group_becomes_completions() -> None:
    first, second = read([member("abcdefgh"), member("ab", more=(EOS,), reason="stop")], request(2))
    assert (first.text, first.finish_reason, first.policy_version) == ("abcdefgh", "length", 3)
    assert first.logprobs.tolist() == [-0.5 - place for place in range(8)]
    assert second.tokens.tolist()[-1] == EOS
    assert (second.text, second.finish_reason) == ("ab", "stop")


def test_a_lone_completion_comes_without_a_list() -> None:
    assert read(member("ab", reason="stop"), request())[0].text == "ab"


def test_a_completion_ends_where_the_embedded_engine_would_end_it() -> None:
    (late,) = read([member("abENDxyz")], request(stop=("END",)))
    assert (late.text, late.finish_reason, len(late.tokens)) == ("ab", "stop", 5)
    (past_eos,) = read([member("ab", more=(EOS, 60, 61))], request())
    assert (past_eos.tokens.tolist()[-1], len(past_eos.tokens), past_eos.finish_reason) == (EOS, 3, "stop")
    (own_rule,) = read([member("abc", reason="stop")], request(stop=("Z",)))
    assert (own_rule.text, own_rule.finish_reason) == ("abc", "stop")
    (full,) = read([member("abc", reason="length")], request())
    assert full.finish_reason == "length"


@pytest.mark.parametrize("version", ["run-2", "other-3", "default"])
def test_another_version_is_never_taken(version: str) -> None:
    with pytest.raises(WrongWeights, match=version):
        read([member("ab"), member("ab", version=version)], request(2))


def waiting_in_line() -> dict[str, Any]:
    """What SGLang 0.5.23 says of a request that was aborted before it began."""
    return {"text": "", "meta_info": {"finish_reason": {"type": "abort"}, "weight_version": "run-3", "completion_tokens": 0}}


def test_a_group_that_was_told_to_stop_is_gone_on_with_member_by_member() -> None:
    asked = request(3, 6, stop=("fg",))
    stopped = read([member("abc", reason="abort"), member("xfg", reason="stop"), waiting_in_line()], asked, may_be_aborted=True)
    assert [completion.finish_reason for completion in stopped] == ["abort", "stop", "abort"]
    assert [len(completion.tokens) for completion in stopped] == [3, 3, 0]
    further = dataclasses.replace(asked, begun=tuple(stopped))
    body = generate_body(further, (EOS,))
    assert body["input_ids"] == [[5, 6, *TOKENIZER.encode("abc")], [5, 6]]
    assert [params["max_new_tokens"] for params in body["sampling_params"]] == [3, 6]
    assert {params["n"] for params in body["sampling_params"]} == {1}
    whole = read([member("def", version="run-4"), member("fgh", version="run-4")], further, 4)
    assert [completion.text for completion in whole] == ["abcdef", "x", ""]
    assert [completion.finish_reason for completion in whole] == ["length", "stop", "stop"]
    assert [completion.policy_versions.tolist() for completion in whole] == [[3, 3, 3, 4, 4, 4], [3, 3, 3], [4, 4]]
    assert whole[0].logprobs.tolist() == [-0.5, -1.5, -2.5] * 2
    assert whole[1] is stopped[1]


def test_nobody_but_us_may_abort_and_other_weights_are_not_taken_from_an_aborted_one_either() -> None:
    with pytest.raises(ServerError, match="ended by abort"):
        read(member("abc", reason="abort"), request())
    with pytest.raises(WrongWeights, match="run-2"):
        read(member("abc", reason="abort", version="run-2"), request(), may_be_aborted=True)


def test_an_update_in_the_middle_of_a_completion_is_seen_in_its_spans() -> None:
    answer = member("abcd")
    answer["meta_info"]["weight_versions"] = [
        {"version": "run-2", "start": 0, "end": 2},
        {"version": "run-3", "start": 2, "end": 4},
    ]
    with pytest.raises(WrongWeights, match="run-2"):
        read(answer, request())


def test_older_servers_without_spans_are_understood() -> None:
    answer = member("abcd")
    del answer["meta_info"]["weight_versions"]
    assert read(answer, request())[0].text == "abcd"


def broken(change: Any) -> dict[str, Any]:
    answer = copy.deepcopy(member("abcd"))
    change(answer["meta_info"])
    return answer


@pytest.mark.parametrize(
    "answer",
    [
        [],
        [member("ab"), member("ab")],
        None,
        "text",
        ["text"],
        [{}],
        [broken(lambda meta: meta.pop("output_token_logprobs"))],
        [broken(lambda meta: meta["output_token_logprobs"].pop())],
        [broken(lambda meta: meta.update(completion_tokens=0, output_token_logprobs=[]))],
        [broken(lambda meta: meta["output_token_logprobs"][1].__setitem__(0, None))],
        [broken(lambda meta: meta["output_token_logprobs"][1].__setitem__(0, float("nan")))],
        [broken(lambda meta: meta["output_token_logprobs"][1].__setitem__(0, 0.5))],
        [broken(lambda meta: meta["output_token_logprobs"][1].__setitem__(1, -4))],
        [broken(lambda meta: meta["output_token_logprobs"][1].__setitem__(1, "a"))],
        [broken(lambda meta: meta.update(finish_reason=None))],
        [broken(lambda meta: meta.update(finish_reason={"type": "abort", "message": "gone"}))],
    ],
)
def test_an_answer_that_is_not_whole_is_a_failure_of_the_server(answer: Any) -> None:
    with pytest.raises(ServerError, match="request r"):
        read(answer, request())
