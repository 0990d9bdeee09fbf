"""The price of each instruction: closed forms, and XLA's own count where a program has no loop."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxformer.analysis.operations import levels
from jaxformer.analysis.parallelism import count
from jaxformer.ops.attention import attention_with_weights

B, M, K, N = 3, 5, 11, 7


def shape(*dimensions, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(dimensions, dtype)


def written(function, *args):
    return count(jax.jit(function).lower(*args))


@pytest.mark.parametrize(
    "function, args, work, depth",
    [
        (jnp.add, (shape(M, K), shape(M, K)), M * K, 1),
        (jnp.exp, (shape(M, K),), M * K, 1),
        (lambda x: x.T.reshape(-1)[::2], (shape(M, K),), 0, 0),
        (lambda x: x.astype(jnp.bfloat16), (shape(M, K),), 0, 0),
        (lambda i: i * 2 + 1, (shape(M, dtype=jnp.int32),), 0, 2),
        (lambda x, y: x > y, (shape(M), shape(M)), M, 1),
        (jnp.matmul, (shape(M, K), shape(K, N)), 2 * M * K * N, 1 + 4),
        (jnp.matmul, (shape(B, M, K), shape(B, K, N)), 2 * B * M * K * N, 1 + 4),
        (jnp.matmul, (shape(M, K, dtype=jnp.int8), shape(K, N, dtype=jnp.int8)), 0, 1 + 4),
        (jnp.outer, (shape(M), shape(N)), M * N, 1),
        (lambda x: jnp.sum(x, 1), (shape(M, K),), M * (K - 1), 4),
        (lambda x: jnp.sum(x, (0, 1)), (shape(M, K),), M * K - 1, 6),
        (lambda x, i: lax.dynamic_slice(x, (i,), (3,)), (shape(M), shape(dtype=jnp.uint32)), 0, 1),
        (lambda x, i: x.at[i].get(mode="promise_in_bounds"), (shape(M), shape(K, dtype=jnp.uint32)), 0, 1),
        (lambda x, i: x.at[i].add(1.0, mode="promise_in_bounds"), (shape(M), shape(K, dtype=jnp.uint32)), K, 2),
        (lambda x: lax.reduce_window(x, 0.0, lax.add, (3,), (2,), "VALID"), (shape(K),), 5 * 2, 2),
        # Batcher's network of 8 has 6 rounds of 4 comparisons, each of which jax writes as 9 operations, 4 deep.
        (lambda x: lax.sort(x, dimension=1), (shape(M, 8),), M * 6 * 4 * 9, 6 * 4),
    ],
)
def test_closed_forms(function, args, work, depth):
    counted = written(function, *args)
    assert not counted.unread and (counted.work, counted.depth) == (work, depth)


@pytest.mark.parametrize("terms, height", [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (1024, 10), (1025, 11)])
def test_levels_of_a_tree(terms, height):
    assert levels(terms) == height


def convolution(**options):
    return lambda x, w: lax.conv_general_dilated(x, w, **options)


def everywhere(q_BTNH, k_BSNH, v_BSNH):
    """Without a mask, whose comparisons of integers XLA counts and we do not."""
    return attention_with_weights(q_BTNH, k_BSNH, v_BSNH)[0]


LOOPLESS = {
    "product": (jnp.matmul, shape(B, M, K), shape(B, K, N)),
    "convolution": (convolution(window_strides=(2, 1), padding="SAME"), shape(B, N, K, 13), shape(M, N, 3, 5)),
    "dilated convolution": (
        convolution(window_strides=(2, 1), padding=((1, 2), (0, 3)), lhs_dilation=(2, 3), rhs_dilation=(1, 2)),
        shape(B, N, K, 13),
        shape(M, N, 3, 5),
    ),
    "spread convolution": (
        convolution(window_strides=(1, 3), padding=((5, 0), (2, 4)), rhs_dilation=(3, 2)),
        shape(B, N, K, 13),
        shape(M, N, 3, 5),
    ),
    "grouped convolution": (
        convolution(window_strides=(1,), padding=((2, 0),), feature_group_count=K),
        shape(B, K, 13),
        shape(2 * K, 1, 3),
    ),
    "normalisation": (lambda x: x * lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-5), shape(M, K)),
    "attention": (everywhere, shape(B, K, 2, M), shape(B, K, 2, M), shape(B, K, 2, M)),
}


@pytest.mark.parametrize("name", LOOPLESS)
def test_xla_counts_the_same_where_there_is_no_loop(name):
    function, *args = LOOPLESS[name]
    lowered = jax.jit(function).lower(*args)
    for program in (lowered, lowered.compile()):
        xla = program.cost_analysis()
        counted = count(program)
        # XLA counts functions such as exp apart.
        assert counted.work == xla["flops"] + xla.get("transcendentals", 0)
        if program is not lowered:
            assert counted.bytes == xla["bytes accessed"]


@pytest.mark.parametrize("form", ["written", "compiled"])
def test_a_loop_reads_and_writes_a_row_each_turn_and_not_the_whole_array(form):
    def states(x_TD):
        return lax.scan(lambda h_D, x_D: (jnp.tanh(h_D * x_D),) * 2, jnp.ones(x_TD.shape[1]), x_TD)[1]

    short, long = (jax.jit(states).lower(shape(T, 101)) for T in (64, 128))
    if form == "compiled":
        short, long = short.compile(), long.compile()
    assert count(long).bytes == pytest.approx(2 * count(short).bytes, rel=0.05)


def test_a_fusion_is_one_kernel_of_the_same_work_and_depth():
    lowered = jax.jit(lambda x: jnp.tanh(x * 2 + 1)).lower(shape(M, K))
    written, compiled = count(lowered), count(lowered.compile())
    assert (written.work, written.depth) == (compiled.work, compiled.depth) == (3 * M * K, 3)
    assert compiled.kernels == 1 and compiled.bytes == 2 * M * K * 4 < written.bytes


IN_PLACE = """\
HloModule m

%fused (a.1: f32[101,7], b.1: f32[101,5], x.1: f32[1,7], y.1: f32[1,5], i.1: s32[]) -> (f32[101,7], f32[101,5]) {
  %a.1 = f32[101,7]{1,0} parameter(0)
  %b.1 = f32[101,5]{1,0} parameter(1)
  %x.1 = f32[1,7]{1,0} parameter(2)
  %y.1 = f32[1,5]{1,0} parameter(3)
  %i.1 = s32[] parameter(4)
  %zero.1 = s32[] constant(0)
  %c.1 = f32[101,7]{1,0} dynamic-update-slice(%a.1, %x.1, %i.1, %zero.1)
  %d.1 = f32[101,5]{1,0} dynamic-update-slice(%b.1, %y.1, %i.1, %zero.1)
  ROOT %t.1 = (f32[101,7]{1,0}, f32[101,5]{1,0}) tuple(%c.1, %d.1)
}

ENTRY %main (a.2: f32[101,7], b.2: f32[101,5], x.2: f32[1,7], y.2: f32[1,5], i.2: s32[]) -> (f32[101,7], f32[101,5]) {
  %a.2 = f32[101,7]{1,0} parameter(0)
  %b.2 = f32[101,5]{1,0} parameter(1)
  %x.2 = f32[1,7]{1,0} parameter(2)
  %y.2 = f32[1,5]{1,0} parameter(3)
  %i.2 = s32[] parameter(4)
  ROOT %fusion.1 = (f32[101,7]{1,0}, f32[101,5]{1,0}) fusion(%a.2, %b.2, %x.2, %y.2, %i.2), kind=kLoop, calls=%fused
}
"""


def test_a_kernel_that_replaces_rows_of_two_arrays_touches_those_rows():
    assert count(IN_PLACE).bytes == 2 * (7 + 5) * 4 + 4


# As XLA writes it for GPUs (gemm_rewriter_test.cc of openxla/xla): result and workspace, axes among the remarks.
FOR_GPU = """\
HloModule m

ENTRY %main (x.1: f32[5,11], y.1: f32[11,7]) -> f32[5,7] {
  %x.1 = f32[5,11]{1,0} parameter(0)
  %y.1 = f32[11,7]{1,0} parameter(1)
  %gemm.1 = (f32[5,7]{1,0}, s8[4194304]{0}) custom-call(%x.1, %y.1), custom_call_target="__cublas$gemm", \
backend_config={"gemm_backend_config":{"alpha_real":1,"beta":0,"dot_dimension_numbers":\
{"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["0"],"lhs_batch_dimensions":[]}}}
  ROOT %result.1 = f32[5,7]{1,0} get-tuple-element(%gemm.1), index=0
}
"""


def test_a_product_by_a_library_is_a_product():
    counted = count(FOR_GPU)
    assert counted.work == counted.products == 2 * M * K * N and counted.depth == 1 + 4 and not counted.unread
    unsaid = count(FOR_GPU.replace("lhs_contracting", "other"))
    assert unsaid.unread == ("__cublas$gemm: operations unknown, counted as none",)
