"""Tests of evo_jax/compiled_costs.py: programs written by hand, and one compiled here."""

import jax
import jax.numpy as jnp

from evo_jax.compiled_costs import parameter_gathers, read_costs

# What XLA prints, cut to what is read: a loop of 5 whose body gathers 2 KiB from each of 4 devices and multiplies.
PROGRAM = """
HloModule jit_f, is_scheduled=true

%fused (p0: bf16[2,64], p1: bf16[64,64]) -> bf16[2,64] {
  %p0 = bf16[2,64]{1,0:T(2,128)(2,1)} parameter(0)
  %p1 = bf16[64,64]{1,0} parameter(1)
  ROOT %convolution.3 = bf16[2,64]{1,0} convolution(%p0, %p1), dim_labels=bf_io->bf
}

%body (arg: (s32[], bf16[2,64], bf16[16,64])) -> (s32[], bf16[2,64], bf16[16,64]) {
  %arg = (s32[]{:T(128)}, bf16[2,64]{1,0:T(2,128)(2,1)}, bf16[16,64]{1,0}) parameter(0)
  %x = bf16[2,64]{1,0} get-tuple-element(%arg), index=1
  %w = bf16[16,64]{1,0} get-tuple-element(%arg), index=2
  %all-gather.2 = bf16[64,64]{1,0} all-gather(%w), channel_id=1, replica_groups=mesh['a'=4,'b'=2] {'a'}, dimensions={0}
  %y = bf16[2,64]{1,0} fusion(%x, %all-gather.2), kind=kOutput, calls=%fused
  ROOT %out = (s32[], bf16[2,64]{1,0}, bf16[16,64]{1,0}) tuple(%x, %y, %w)
}

%condition (arg.1: (s32[], bf16[2,64], bf16[16,64])) -> pred[] {
  %arg.1 = (s32[], bf16[2,64]{1,0}, bf16[16,64]{1,0}) parameter(0)
  ROOT %lt = pred[] constant(true)
}

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

ENTRY %main (p: bf16[2,64], q: bf16[16,64], r: f32[8]) -> bf16[2,64] {
  %p = bf16[2,64]{1,0} parameter(0)
  %q = bf16[16,64]{1,0} parameter(1)
  %r = f32[8]{0} parameter(2)
  %start = (s32[], bf16[2,64]{1,0}, bf16[16,64]{1,0}) tuple(%p, %p, %q)
  %loop = (s32[], bf16[2,64]{1,0}, bf16[16,64]{1,0}) while(%start), condition=%condition, body=%body, BACKEND
  %reduced = f32[8]{0} all-reduce(%r), channel_id=2, replica_groups=[2,4]<=[8], to_apply=%add
  %whole = bf16[128,64]{1,0} all-gather(%q), replica_groups={{0,1,2,3,4,5,6,7}}, dimensions={0}
  %kernel = bf16[2,64]{1,0} custom-call(%p), custom_call_target="tpu_custom_call", metadata={op_name="jit(f)/splash_mha_fwd"}
  ROOT %result = bf16[2,64]{1,0} get-tuple-element(%loop), index=1
}
"""
KNOWN = 'backend_config={"known_trip_count":{"n":"5"}}'


def test_loops_are_counted_as_often_as_they_run() -> None:
    costs = read_costs(PROGRAM.replace("BACKEND", KNOWN))
    assert costs.product_flops == 5 * 2 * 2 * 64 * 64
    assert costs.open_loops == 0
    # a gather sends each device's 2 KiB to 3 others, 5 times; a ring all-reduce of 32 B over 4 sends 2 * 3/4 of it
    assert costs.by_kind() == {"all-gather": (6, 5 * 3 * 2048 + 7 * 2048), "all-reduce": (1, 48.0)}
    assert costs.collective_runs == 7
    assert costs.kernels == {"tpu_custom_call: splash_mha_fwd": 1}


def test_copies_inside_loops_are_read_and_written() -> None:
    copying = PROGRAM.replace("BACKEND", KNOWN).replace("%w = bf16", "%c = bf16[2,64]{1,0} copy(%x)\n  %w = bf16")
    assert read_costs(copying).copied_bytes == 5 * 2 * 256
    near = copying.replace("bf16[2,64]{1,0} copy", "bf16[2,64]{1,0:T(8,128)S(1)} copy")
    assert read_costs(near).copied_bytes == 0
    assert read_costs(PROGRAM.replace("BACKEND", KNOWN)).copied_bytes == 0


def test_where_no_trip_count_is_noted_the_condition_tells_it() -> None:
    """As the TPU's compiler prints loops."""
    compared = "%limit = s32[]{:T(128)} constant(5)\n  ROOT %lt = pred[] compare(%arg.1, %limit), direction=LT"
    costs = read_costs(PROGRAM.replace("ROOT %lt = pred[] constant(true)", compared).replace("BACKEND", "metadata={}"))
    assert costs.open_loops == 0
    assert costs.product_flops == 5 * 2 * 2 * 64 * 64


def test_a_loop_that_only_the_data_ends_is_said_to_be_open() -> None:
    costs = read_costs(PROGRAM.replace("BACKEND", "metadata={}"))
    assert costs.open_loops == 1
    assert costs.product_flops == 2 * 2 * 64 * 64


def test_gathers_outside_loops_are_found_by_their_result() -> None:
    costs = read_costs(PROGRAM.replace("BACKEND", KNOWN))
    assert [one.result_bytes for one in parameter_gathers(costs, 1024)] == [8 * 2048]
    assert parameter_gathers(costs, 10**6) == []


# A gather that the TPU's compiler spreads over two fusions, and a reduce-scatter as it writes one.
SPREAD = """
HloModule jit_g, is_scheduled=true

%async.1 (a: bf16[16,64]) -> bf16[64,64] {
  %a = bf16[16,64]{1,0} parameter(0)
  ROOT %all-gather.1 = bf16[64,64]{1,0} all-gather(%a), channel_id=7, replica_groups={{0,1,2,3}}, dimensions={0}
}

%async.2 (b: bf16[16,64]) -> bf16[64,64] {
  %b = bf16[16,64]{1,0} parameter(0)
  ROOT %all-gather.2 = bf16[64,64]{1,0:S(1)} all-gather(%b), channel_id=7, replica_groups={{0,1,2,3}}, dimensions={0}
}

%all-reduce-scatter.1 (c: bf16[64,64]) -> bf16[16,64] {
  %c = bf16[64,64]{1,0} parameter(0)
  %all-reduce.1 = bf16[64,64]{1,0} all-reduce(%c), channel_id=8, replica_groups={{0,1,2,3}}, to_apply=%add
  ROOT %slice = bf16[16,64]{1,0} dynamic-slice(%all-reduce.1), dynamic_slice_sizes={16,64}
}

ENTRY %main (p: bf16[16,64]) -> bf16[16,64] {
  %p = bf16[16,64]{1,0} parameter(0)
  %one = bf16[64,64]{1,0} fusion(%p), kind=kOutput, calls=%async.1
  %two = bf16[64,64]{1,0} fusion(%p), kind=kOutput, calls=%async.2
  %splash_mha_dq.3 = bf16[64,64]{1,0} custom-call(%two), custom_call_target="tpu_custom_call", frontend_attributes={kernel={
  ROOT %three = bf16[16,64]{1,0} fusion(%two), kind=kCustom, calls=%all-reduce-scatter.1
}
"""


def test_what_runs_beside_products_is_counted_once_and_by_what_it_is() -> None:
    costs = read_costs(SPREAD)
    # 2 KiB to each of 3 others; of 8 KiB that are summed three quarters are sent
    assert costs.by_kind() == {"all-gather": (1, 3 * 2048.0), "reduce-scatter": (1, 0.75 * 8192)}
    assert costs.kernels == {"tpu_custom_call: splash_mha_dq": 1}


def test_what_xla_prints_here_is_read() -> None:
    def chain(x: jax.Array, w: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, 7, lambda _, y: jnp.tanh(y @ w), x)

    compiled = jax.jit(chain).lower(jnp.ones((8, 32)), jnp.ones((32, 32))).compile()
    costs = read_costs(compiled.as_text())
    assert costs.product_flops == 7 * 2 * 8 * 32 * 32
    assert costs.collectives == ()
