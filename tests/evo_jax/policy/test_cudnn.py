"""Tests of evo_jax/policy/cudnn.py: everything around cuDNN, through a double of it, held to the plain attention.

cuDNN itself runs on no CPU: of its calls only the lowering is looked at, and one test waits for a GPU.
"""

import re
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo_jax.config import ConfigError
from evo_jax.policy import cudnn
from evo_jax.policy.attention import attend_from, packed_attend
from evo_jax.policy.cudnn import Segments, cudnn_attend, require_cudnn, row_segments
from tests.evo_jax.policy.cudnn_double import CudnnDouble

ROW, HEADS, KV_HEADS, SIZE = 48, 4, 2, 8
DOUBLE = CudnnDouble()
# A group is (prompt, completions), in tokens.
type Row = list[tuple[int, list[int]]]
MANY: Row = [(5, [4, 3, 6]), (2, [7]), (4, [1, 1]), (3, [])]
FULL: Row = [(8, [10, 10]), (6, [14])]
ONE_TOKEN: Row = [(1, [])]


def packed_ids(*rows: Row) -> tuple[np.ndarray, np.ndarray]:
    groups, completions = np.zeros((2, len(rows), ROW), np.int32)
    for r, row in enumerate(rows):
        start = 0
        for group, (prompt, members) in enumerate(row, start=1):
            for completion, length in enumerate([prompt, *members]):
                groups[r, start : start + length], completions[r, start : start + length] = group, completion
                start += length
        assert start <= ROW
    return groups, completions


def random_qkv(rows: int, seed: int = 0, dtype=jnp.float32) -> list[jax.Array]:
    keys = jax.random.split(jax.random.key(seed), 3)
    heads = (HEADS, KV_HEADS, KV_HEADS)
    return [jax.random.normal(key, (rows, ROW, n, SIZE), dtype) for key, n in zip(keys, heads, strict=True)]


@partial(jax.jit, static_argnames="count")
def of_double(first, qkv, segments, cotangent, count=ROW):
    """(attended, gradients of q, k, v) of `count` queries from `first` on."""
    q, k, v = qkv
    taken = jax.lax.dynamic_slice_in_dim(q, first, count, axis=1)
    at = 0 if count == ROW else first
    out, back = jax.vjp(lambda *args: cudnn_attend(at, *args, segments, kernel=DOUBLE), taken, k, v)
    return out, back(cotangent)


@partial(jax.jit, static_argnames="count")
def of_plain(first, qkv, ids, cotangent, count=ROW):
    q, k, v = qkv
    taken, *query_ids = (jax.lax.dynamic_slice_in_dim(x, first, count, axis=1) for x in (q, *ids))
    out, back = jax.vjp(lambda *args: attend_from(first, *args, tuple(query_ids), tuple(ids)), taken, k, v)
    return out, back(cotangent)


def assert_equal_to_plain(rows: list[Row], first: int = 0, count: int = ROW, seed: int = 0) -> None:
    ids, qkv = packed_ids(*rows), random_qkv(len(rows), seed)
    real = (ids[0] > 0)[:, first : first + count, None, None]
    cotangent = jax.random.normal(jax.random.key(seed + 1), (len(rows), count, HEADS, SIZE)) * real
    out, gradients = of_double(first, qkv, row_segments(*ids), cotangent, count)
    expected, right = of_plain(first, qkv, ids, cotangent, count)
    assert jnp.isfinite(out).all()
    np.testing.assert_allclose(out, expected * real, atol=2e-5)
    for name, ours, theirs in zip("qkv", gradients, right, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=5e-5, err_msg=name)


def test_segments_of_a_row_by_hand() -> None:
    own, prompts = row_segments(*packed_ids(MANY, ONE_TOKEN))
    assert own.shape == (2, 8, 2)
    assert prompts.shape == (2, 8, 4)
    # Prompt and first completion are one: 5 + 4, then 3 and 6; 2 + 7; 4 + 1 and 1; a prompt alone.
    assert own[0].tolist() == [[0, 9], [9, 3], [12, 6], [18, 9], [27, 5], [32, 1], [33, 3], [0, 0]]
    assert prompts[0, :3].tolist() == [[9, 9, 0, 5], [32, 1, 27, 4], [0, 0, 0, 0]]
    assert own[1].tolist() == [[0, 1]] + [[0, 0]] * 7
    assert not prompts[1].any()


def test_numbers_of_segments_are_rounded_up_and_unshared_prompts_need_no_second_part() -> None:
    own, prompts = row_segments(*packed_ids([(1, [1])] * 9))
    assert own.shape == (1, 16, 2)
    assert prompts.shape == (1, 0, 4)
    assert row_segments(*packed_ids([]))[0].shape == (1, 8, 2)
    assert len(cudnn._parts(0, ROW, jnp.asarray(own[0]), jnp.asarray(prompts[0]))) == 1


@pytest.mark.parametrize("rows", [[MANY], [FULL], [ONE_TOKEN], [FULL, [], MANY], [[(ROW, [])]]])
def test_values_and_gradients_equal_the_plain_attention(rows: list[Row]) -> None:
    assert_equal_to_plain(rows)


@pytest.mark.parametrize("first", [0, 12, 24, 36])
def test_a_part_of_the_queries_attends_as_it_would_in_the_whole_row(first: int) -> None:
    """The context axis: cuts through a prompt, through a first and a further completion, and between groups."""
    assert_equal_to_plain([MANY, FULL, [(30, [9, 9])]], first, 12, seed=first)


@st.composite
def packed_row(draw) -> Row:
    row, left = [], draw(st.integers(0, ROW))
    while left:
        prompt = draw(st.integers(1, left))
        left -= prompt
        members = []
        while left and draw(st.booleans()):
            members.append(draw(st.integers(1, min(left, 9))))
            left -= members[-1]
        row.append((prompt, members))
    return row


@settings(max_examples=40, deadline=None)
@given(packed_row(), st.integers(0, ROW - 12), st.integers(0, 99))
def test_any_packing_and_any_cut_equals_the_plain_attention(row: Row, first: int, seed: int) -> None:
    assert_equal_to_plain([row], seed=seed)
    assert_equal_to_plain([row], first, 12, seed=seed)


def test_bfloat16_stays_bfloat16() -> None:
    ids, qkv = packed_ids(MANY), random_qkv(1, dtype=jnp.bfloat16)
    real = (ids[0] > 0)[..., None, None]
    out, gradients = of_double(0, qkv, row_segments(*ids), jnp.ones((1, ROW, HEADS, SIZE), jnp.bfloat16) * real)
    expected = packed_attend(*ids)(0, *qkv)
    assert {x.dtype.name for x in (out, *gradients)} == {"bfloat16"}
    np.testing.assert_allclose(out.astype(jnp.float32), expected.astype(jnp.float32) * real, atol=0.05)


@pytest.mark.parametrize(
    "segments",
    [
        Segments(*(jnp.asarray(x) for x in ([-1, 0], [-1, 4], [-1, 0], [-1, 4]))),  # unused before used
        Segments(*(jnp.asarray(x) for x in ([0, 4], [4, 0], [0, 4], [4, 4]))),  # empty
        Segments(*(jnp.asarray(x) for x in ([0, 3], [4, 4], [0, 4], [4, 4]))),  # a query twice
        Segments(*(jnp.asarray(x) for x in ([0, 46], [4, 4], [0, 4], [4, 4]))),  # beyond the row
    ],
)
def test_the_double_refuses_what_the_contract_does_not_say(segments: Segments) -> None:
    out, _ = DOUBLE.forward(*random_qkv(1), segments, causal=False)
    assert jnp.isnan(out).all()


def test_the_double_leaves_undefined_what_cudnn_does_and_loses_gradients_of_keys_in_two_segments() -> None:
    used = ([0, 8, -1], [4, 4, -1], [4, 4, -1], [4, 4, -1])
    segments, qkv = Segments(*map(jnp.asarray, used)), random_qkv(1)
    out, statistics = DOUBLE.forward(*qkv, segments, causal=False)
    assert statistics.shape == (3, HEADS, ROW)
    assert jnp.isfinite(out[0, jnp.r_[0:4, 8:12]]).all()
    assert jnp.isnan(out[0, 4:8]).all()
    assert jnp.isfinite(statistics[:2, :, :4]).all()
    assert jnp.isnan(statistics[:2, :, 4:]).all()
    assert jnp.isnan(statistics[2]).all()
    gradients = DOUBLE.backward(tuple(qkv), segments, (statistics, out), out, causal=False)
    assert all(jnp.isnan(x).all() for x in gradients)


# ---- the real calls: lowered for CUDA, run nowhere ----------------------------------------------------------------------


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="cuDNN needs an NVIDIA GPU")
@pytest.mark.parametrize("first", [0, 12])
def test_cudnn_itself_equals_the_plain_attention(first: int) -> None:
    """Never run so far. Rows without a segment are in it, and with only queries from `first` on, parts without one."""
    require_cudnn(jax.devices()[0], jnp.bfloat16, SIZE)
    ids, qkv = packed_ids(MANY, FULL, [], ONE_TOKEN), random_qkv(4, dtype=jnp.bfloat16)
    count = ROW - first
    real = (ids[0] > 0)[:, first:, None, None]
    cotangent = jax.random.normal(jax.random.key(1), (4, count, HEADS, SIZE), jnp.bfloat16) * real

    @jax.jit
    def of_cudnn(at, q, k, v):
        out, back = jax.vjp(lambda *args: cudnn_attend(at if first else 0, *args, row_segments(*ids)), q[:, first:], k, v)
        return out, back(cotangent)

    found = of_cudnn(jnp.int32(first), *qkv)
    expected = of_plain(first, [x.astype(jnp.float32) for x in qkv], ids, cotangent.astype(jnp.float32), count)
    for ours, right in zip(jax.tree.leaves(found), jax.tree.leaves((expected[0] * real, expected[1])), strict=True):
        np.testing.assert_allclose(ours.astype(jnp.float32), right, atol=0.05, rtol=0.02)


def calls_for_cuda(*, cut: bool) -> list[str]:
    """Lines of the StableHLO of a gradient; with `cut` for queries from a position on that only the device knows."""
    segments = row_segments(*packed_ids(MANY))
    shapes = [jax.ShapeDtypeStruct((1, ROW, n, 128), jnp.bfloat16) for n in (HEADS, KV_HEADS, KV_HEADS)]

    def loss(q, k, v, first):
        return cudnn_attend(first if cut else 0, q, k, v, segments).astype(jnp.float32).sum()

    names = ("__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward")
    checks = [jax.export.DisabledSafetyCheck.custom_call(name) for name in names]
    exported = jax.export.export(jax.jit(jax.grad(loss, (0, 1, 2))), platforms=["cuda"], disabled_checks=checks)
    program = exported(*shapes, jax.ShapeDtypeStruct((), jnp.int32)).mlir_module()
    return [line for line in program.splitlines() if "custom_call @__cudnn$" in line]


@pytest.mark.parametrize(("cut", "parts"), [(False, 2), (True, 3)])
def test_both_calls_of_cudnn_are_in_the_program_for_cuda(cut: bool, parts: int) -> None:
    calls = calls_for_cuda(cut=cut)
    forward = [line for line in calls if "@__cudnn$fmhaSoftmax(" in line]
    backward = [line for line in calls if "@__cudnn$fmhaSoftmaxBackward(" in line]
    assert len(forward) == len(backward) == parts == len(calls) / 2
    q, kv = "tensor<1x48x4x128xbf16>", "tensor<1x48x2x128xbf16>"
    statistics = "tensor<8x4x48xf32>"
    layout = "tensor<1x8xi32>, tensor<1x8xi32>, tensor<1x9xi32>, tensor<1x9xi32>"
    assert f"({q}, {kv}, {kv}, {layout}) -> (tensor<1x4x48x128xbf16>, {statistics}, tensor<0xui8>)" in forward[0]
    gradients = "(tensor<1x4x48x128xbf16>, tensor<1x2x48x128xbf16>, tensor<1x2x48x128xbf16>, tensor<0xui8>)"
    assert f"({q}, {kv}, {kv}, {statistics}, {q}, {q}, {layout}) -> {gradients}" in backward[0]
    for lines in (forward, backward):
        masks = [re.findall(r"mask_type[^A-Z]+([A-Z_]+)", line) for line in lines]
        assert masks == [["PADDING_CAUSAL"], *[["PADDING"]] * (parts - 1)]
        assert [re.findall(r"max_seg_per_batch[^0-9]+22: ([0-9]+)", line) for line in lines] == [["8"], ["8"], ["2"]][:parts]
        assert all(f"{128**-0.5}" in line for line in lines)  # the scale


def test_what_jax_hands_to_cudnn_by_hand() -> None:
    """Offsets in elements of queries and keys, whose heads differ in number; unused segments of no length at the end."""
    segments = cudnn._in_order(Segments(*(jnp.asarray(x) for x in ([9, 0, 32], [9, 0, 1], [0, 0, 27], [5, 0, 4]))))
    assert [x.tolist() for x in segments] == [[9, 32, -1], [9, 1, -1], [0, 27, -1], [5, 4, -1]]
    q, k, _ = random_qkv(1)
    given = cudnn.fused._fix_seqlen_offsets(*cudnn._packed_layout(segments), q, k)
    of_query, of_key = HEADS * SIZE, KV_HEADS * SIZE
    assert [x[0].tolist() for x in given] == [
        [9, 1, 0],
        [5, 4, 0],
        [9 * of_query, 32 * of_query, ROW * of_query, ROW * of_query],
        [0, 27 * of_key, ROW * of_key, ROW * of_key],
    ]
    nothing = cudnn._packed_layout(Segments(*[jnp.full(2, -1)] * 4))
    assert [x[0].tolist() for x in nothing] == [[1, -1], [1, -1], [0, -1, -1], [0, -1, -1]]


def device(platform: str = "gpu", version: str = "PJRT C API cuda 13000", capability: str = "9.0") -> SimpleNamespace:
    """A double of a device, of which only these are read."""
    client = SimpleNamespace(platform_version=version)
    return SimpleNamespace(platform=platform, client=client, compute_capability=capability, device_kind="NVIDIA H100")


@pytest.mark.parametrize(
    ("found", "dtype", "head_size", "version", "message"),
    [
        (device("cpu", "cpu"), jnp.bfloat16, 128, 91000, "this run is on cpu"),
        (device(version="rocm 60300"), jnp.bfloat16, 128, 91000, "NVIDIA"),
        (device(capability="8.0"), jnp.bfloat16, 128, 91000, "Hopper"),
        (device(), jnp.float32, 128, 91000, "compute_dtype"),
        (device(), jnp.bfloat16, 100, 91000, "multiple of 8"),
        (device(), jnp.bfloat16, 264, 91000, "at most 256"),
        (device(capability="10.0"), jnp.bfloat16, 192, 91000, "at most 128"),
        (device(), jnp.bfloat16, 128, 90501, "found is 9.5"),
        (device(), jnp.bfloat16, 128, 0, "none was found"),
    ],
)
def test_what_cudnn_lacks_is_named(monkeypatch, found, dtype, head_size, version, message) -> None:
    monkeypatch.setattr(cudnn, "cudnn_version", lambda: version)
    with pytest.raises(ConfigError, match=message):
        require_cudnn(found, dtype, head_size)


def test_a_newer_gpu_with_a_newer_cudnn_is_taken(monkeypatch) -> None:
    monkeypatch.setattr(cudnn, "cudnn_version", lambda: 91400)
    require_cudnn(device(capability="12.0"), jnp.bfloat16, 128)


def test_there_is_no_cudnn_on_a_cpu() -> None:
    assert cudnn.cudnn_version() == 0
