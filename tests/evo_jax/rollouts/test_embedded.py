"""Tests of evo_jax/rollouts/embedded.py."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from evo_jax.rollouts.embedded import EngineSettings, pool_shape
from evo_jax.rollouts.protocol import RolloutError, RolloutRequest, SamplingParams
from tests.evo_jax.rollouts.tiny_policy import (
    EOS,
    FAMILIES,
    ROW,
    VOCAB,
    byte_tokenizer,
    make_engine,
    plain_logprobs,
    row_logits,
    tiny_decoder,
)


def prompt(length, seed):
    return tuple(np.random.default_rng(seed).integers(2, VOCAB, length).tolist())


def request(name, length=9, group=3, limit=12, seed=None, **sampling):
    return RolloutRequest(
        str(name), prompt(length, name), group, 100 + name if seed is None else seed, SamplingParams(limit, **sampling)
    )


def same(a, b):
    assert a.tokens.tolist() == b.tokens.tolist()
    assert a.logprobs.tobytes() == b.logprobs.tobytes()
    assert (a.text, a.finish_reason) == (b.text, b.finish_reason)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_greedy_is_the_argmax_of_full_forward_passes(family):
    decoder = tiny_decoder(FAMILIES[family])
    engine = make_engine(decoder)
    requests = [request(i, length, 1, 10, temperature=0.0) for i, length in enumerate((1, 3, 9, 16))]
    for asked, (completion,) in zip(requests, engine.generate(requests), strict=True):
        row = np.zeros(ROW, np.int32)
        row[: len(asked.prompt_tokens)] = asked.prompt_tokens
        for end, token in enumerate(completion.tokens, start=len(asked.prompt_tokens)):
            assert int(jnp.argmax(row_logits(decoder, row)[end - 1])) == token
            row[end] = token
        assert completion.finish_reason == ("stop" if completion.tokens[-1] == EOS else "length")
        expected = plain_logprobs(decoder, asked.prompt_tokens, completion.tokens)
        np.testing.assert_allclose(completion.logprobs, expected[np.arange(len(expected)), completion.tokens], atol=1e-5)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.0])
def test_logprobs_are_those_of_a_plain_forward_pass_before_any_cut(decoder, engine, temperature):
    for cut in ({}, {"top_k": 5}, {"top_p": 0.6}):
        requests = [request(i, length, 5, temperature=temperature, **cut) for i, length in enumerate((2, 9, 15))]
        for asked, group in zip(requests, engine.generate(requests), strict=True):
            for completion in group:
                expected = plain_logprobs(decoder, asked.prompt_tokens, completion.tokens, temperature)
                rows = np.arange(len(expected))
                np.testing.assert_allclose(completion.logprobs, expected[rows, completion.tokens], atol=1e-5)


def test_a_completion_is_the_same_bits_alone_and_in_company(engine):
    alone = [engine.generate([request(i, 4 + i, 3)])[0] for i in range(7)]
    together = engine.generate([request(i, 4 + i, 3) for i in range(7)])
    reversed_order = engine.generate([request(i, 4 + i, 3) for i in reversed(range(7))])[::-1]
    for groups in (together, reversed_order):
        for group, expected in zip(groups, alone, strict=True):
            for completion, other in zip(group, expected, strict=True):
                same(completion, other)
    # Another seat, lane and tile, and a bigger group: the first members are the same completions.
    bigger = engine.generate([request(90, 8, 5), request(91, 8, 2), request(2, 6, 11)])[2]
    for completion, other in zip(bigger, alone[2], strict=False):
        same(completion, other)


def test_many_more_requests_than_slots_come_back_in_order_and_complete(decoder, engine):
    requests = [request(i, 3 + i % 12, 1 + i % 6, 1 + i % 13) for i in range(40)]
    seen = []
    results = engine.generate(requests, lambda *progress: seen.append(progress))
    assert [len(group) for group in results] == [asked.group_size for asked in requests]
    total = sum(asked.group_size for asked in requests)
    assert seen[-1] == (total, total, engine.stats.generated_tokens)
    for asked, group in zip(requests, results, strict=True):
        for completion in group:
            ended = completion.tokens[-1] == EOS
            assert completion.finish_reason == ("stop" if ended else "length")
            assert len(completion.tokens) <= asked.sampling.max_completion_tokens
            assert ended or len(completion.tokens) == asked.sampling.max_completion_tokens
            assert completion.policy_version == 3
            expected = plain_logprobs(decoder, asked.prompt_tokens, completion.tokens)
            np.testing.assert_allclose(completion.logprobs, expected[np.arange(len(expected)), completion.tokens], atol=1e-5)
    stats = engine.stats
    assert stats.completions == total
    assert stats.generated_tokens == sum(len(c.tokens) for group in results for c in group)
    assert stats.prompt_tokens >= sum(len(asked.prompt_tokens) for asked in requests)
    assert 0 <= stats.idle_fraction < 0.6


def test_single_replies_are_decoded_side_by_side(decoder):
    engine = make_engine(decoder, slots=8, lanes=4)
    completions = [group[0] for group in engine.generate([request(i, 4 + i, 1, 16) for i in range(8)])]
    assert engine.stats.decode_steps == max(len(completion.tokens) for completion in completions)


@pytest.mark.parametrize(
    ("prompt_tokens", "group_size", "tiles", "lanes", "seats"),
    [(64, 1, 16, 2, 2), (64, 3, 8, 4, 2), (64, 4, 4, 8, 2), (64, 50, 4, 8, 2), (300, 1, 16, 1, 1), (300, 3, 16, 2, 1)],
)
def test_a_tile_has_no_more_lanes_than_its_groups_fill(prompt_tokens, group_size, tiles, lanes, seats):
    shape = pool_shape(EngineSettings(slots=32, lanes=8), prompt_tokens, 16, group_size, truncated=False, lane_shards=1)
    assert (shape.tiles, shape.lanes, shape.seats) == (tiles, lanes, seats)


def test_programs_are_compiled_once_a_shape(decoder):
    engine = make_engine(decoder)
    engine.generate([request(0, 5), request(1, 16)])
    assert engine.stats.compiles == 1
    engine.generate([request(2, 7, 6, 16)])
    assert engine.stats.compiles == 0
    engine.generate([request(3, 17)])
    assert engine.stats.compiles == 1


def test_members_of_a_group_and_groups_of_other_seeds_differ(engine):
    first, second = engine.generate([request(0, group=6), request(0, group=6, seed=8)])
    texts = {tuple(completion.tokens.tolist()) for completion in first + second}
    assert len(texts) == 12


def test_two_engines_agree_and_dispatch_length_does_not_matter(decoder, engine):
    requests = [request(i, 5 + 2 * i, 4) for i in range(5)]
    expected = engine.generate(requests)
    for other in (make_engine(decoder), make_engine(decoder, dispatch_steps=7)):
        for group, others in zip(expected, other.generate(requests), strict=True):
            for completion, again in zip(group, others, strict=True):
                same(completion, again)


def test_one_slot_serves_everything(decoder, engine):
    single = make_engine(decoder, slots=1)
    requests = [request(i, 5, 2, 4) for i in range(3)]
    for group, expected in zip(single.generate(requests), engine.generate(requests), strict=True):
        for completion, other in zip(group, expected, strict=True):
            assert completion.tokens.tolist() == other.tokens.tolist()


def test_length_one(engine):
    ((completion,),) = engine.generate([request(4, group=1, limit=1)])
    assert completion.tokens.shape == completion.logprobs.shape == (1,)
    assert completion.finish_reason == ("stop" if completion.tokens[0] == EOS else "length")


def test_stop_strings_end_a_completion_also_across_tokens(engine):
    tokenizer = byte_tokenizer()
    free = request(5, 6, 4, 16)
    for position, full in enumerate(engine.generate([free])[0]):
        text = tokenizer.decode(full.tokens[3:5].tolist())
        if len(text) < 2 or "\ufffd" in text:
            continue
        stop = text[:2]
        stopped = dataclasses.replace(free, sampling=dataclasses.replace(free.sampling, stop=("zzzzzz", stop)))
        cut = engine.generate([stopped])[0][position]
        assert cut.finish_reason == "stop"
        assert cut.tokens.tolist() == full.tokens[: len(cut.tokens)].tolist()
        assert stop in tokenizer.decode(cut.tokens.tolist())
        assert stop not in tokenizer.decode(cut.tokens[:-1].tolist())
        assert cut.text == full.text[: full.text.index(stop)]
        break
    else:
        pytest.fail("no completion had two characters in a row to stop at")


def test_new_weights_take_effect_and_the_learner_may_donate_its_own(decoder):
    engine = make_engine(decoder)
    before = engine.generate([request(0)])[0]
    params = jax.tree.map(jnp.array, nnx.state(tiny_decoder(FAMILIES["llama"], seed=9)))
    engine.load_weights(params, 4)
    for leaf in jax.tree.leaves(params):
        leaf.delete()
    after = engine.generate([request(0)])[0]
    assert engine.policy_version == after[0].policy_version == 4
    assert [c.tokens.tolist() for c in before] != [c.tokens.tolist() for c in after]


def test_what_cannot_be_served_is_refused_by_name(decoder, engine):
    with pytest.raises(RolloutError, match=r"request 7.*49 tokens.*max_prompt_tokens=48"):
        engine.generate([request(0), request(7, 49)])
    with pytest.raises(RolloutError, match="256 positions"):
        engine.generate([request(0, limit=250)])
    with pytest.raises(RolloutError, match="outside"):
        engine.generate([dataclasses.replace(request(0), prompt_tokens=(5, VOCAB))])
    closed = make_engine(decoder)
    closed.close()
    with pytest.raises(RolloutError, match="closed"):
        closed.generate([request(0)])


def test_closing_aborts_what_is_open(decoder):
    engine = make_engine(decoder)
    requests = [request(i, group=8) for i in range(4)]
    results = engine.generate(requests, lambda *_: engine.close())
    reasons = {completion.finish_reason for group in results for completion in group}
    assert "abort" in reasons
    assert [len(group) for group in results] == [8] * 4


def stopped_after(engine, requests, groups):
    """What `generate` brings when it is stopped once so many groups are finished, and the places of those."""
    finished = {}
    found = engine.generate(requests, on_group=finished.__setitem__, should_stop=lambda: len(finished) >= groups)
    assert all(found[place] is group for place, group in finished.items())
    return found, set(finished)


def go_on(requests, groups):
    return [dataclasses.replace(asked, begun=tuple(group)) for asked, group in zip(requests, groups, strict=True)]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_stopped_and_gone_on_with_under_other_weights_each_token_has_the_logprob_of_its_version(family):
    old, new = (tiny_decoder(FAMILIES[family], seed=seed) for seed in (0, 9))
    engine = make_engine(old, version=3)
    requests = [request(i, 3 + 3 * i, 3, 2 + 9 * (i % 2), temperature=0.8) for i in range(5)]
    found, finished = stopped_after(engine, requests, 1)
    assert 0 < len(finished) < 5
    engine.load_weights(nnx.state(new), 4)
    spanning = 0
    for asked, begun, group in zip(requests, found, engine.generate(go_on(requests, found)), strict=True):
        for before, completion in zip(begun, group, strict=True):
            if before.finish_reason != "abort":
                assert completion is not before
                same(completion, before)
            kept = len(before.tokens)
            assert completion.finish_reason in ("stop", "length")
            assert completion.policy_versions.tolist() == [3] * kept + [4] * (len(completion.tokens) - kept)
            assert completion.tokens[:kept].tolist() == before.tokens.tolist()
            rows = np.arange(len(completion.tokens))
            for decoder, span in ((old, slice(kept)), (new, slice(kept, None))):
                expected = plain_logprobs(decoder, asked.prompt_tokens, completion.tokens, 0.8)
                expected = expected[rows, completion.tokens]
                np.testing.assert_allclose(completion.logprobs[span], expected[span], atol=2e-5)
            spanning += 0 < kept < len(completion.tokens)
    assert spanning


def test_stopped_again_and_again_the_tokens_are_those_of_one_run(decoder):
    engine = make_engine(decoder, dispatch_steps=2)
    # Greedy, so that rounding in the last bit decides nothing; over 32 tokens, so that one is read in in several parts.
    requests = [request(i, 4 + 3 * i, 2, 40 if i == 1 else 9, temperature=0.0) for i in range(4)]
    expected = engine.generate(requests)
    open_requests, stops = requests, 0
    while any(asked.open_members for asked in open_requests):
        dispatches = []
        found = engine.generate(
            open_requests,
            lambda *progress, dispatches=dispatches: dispatches.append(progress),
            should_stop=lambda dispatches=dispatches: len(dispatches) >= 2,
        )
        open_requests = go_on(requests, found)
        stops += 1
    assert stops > 5
    for asked, group in zip(open_requests, expected, strict=True):
        for completion, other in zip(asked.begun, group, strict=True):
            assert completion.tokens.tolist() == other.tokens.tolist()
            assert (completion.text, completion.finish_reason) == (other.text, other.finish_reason)
            np.testing.assert_allclose(completion.logprobs, other.logprobs, atol=1e-5)


def test_a_stop_string_over_the_seam_is_found(engine):
    tokenizer = byte_tokenizer()
    asked = request(5, 6, 4, 16)
    for position, full in enumerate(engine.generate([asked])[0]):
        text = tokenizer.decode(full.tokens[3:5].tolist())
        if len(text) != 2 or "\ufffd" in text or text in tokenizer.decode(full.tokens[:4].tolist()):
            continue
        parts = {"tokens": full.tokens[:4], "logprobs": full.logprobs[:4], "policy_versions": full.policy_versions[:4]}
        begun = [dataclasses.replace(full, finish_reason="abort", text="", **parts)] * 4
        stopped = dataclasses.replace(asked, sampling=SamplingParams(16, stop=(text,)), begun=tuple(begun))
        cut = engine.generate([stopped])[0][position]
        assert (cut.finish_reason, cut.tokens.tolist()) == ("stop", full.tokens[:5].tolist())
        break
    else:
        pytest.fail("no completion had two characters in a row to stop at")


def test_a_group_begun_in_part_is_refused():
    with pytest.raises(RolloutError, match="request 0: 1 of 3 completions were begun"):
        dataclasses.replace(request(0), begun=(None,))


def test_what_a_stop_leaves_unbegun_costs_no_program(decoder):
    engine = make_engine(decoder)
    (first, second) = engine.generate([request(0, 5), request(1, 40)], should_stop=lambda: True)
    assert engine.stats.compiles == 0
    assert [(len(c.tokens), c.finish_reason) for c in first + second] == [(0, "abort")] * 6
