"""Temporaries of a compiled program, where malloc keeps what is freed."""

import sys

import jax
import pytest

from jaxformer.parallel.temporaries import in_parts, quiet
from tests.cli.toy import process

FAULTS = """
import resource
import jax, jax.numpy as jnp
from jaxformer.parallel.temporaries import in_parts

def loss(w, x):
    for _ in range(6):
        x = jnp.tanh(x @ w)  # 16 MB, which the gradient wants again
    return x.sum()

w, x = jnp.ones((40, 40)) / 40, jnp.ones((100_000, 40))
for options in (None, in_parts("cpu")):
    step, last = jax.jit(jax.grad(loss), compiler_options=options), None
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        jax.block_until_ready(step(w, x))
        last = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    print(last)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_temporaries_in_parts_are_kept_for_the_next_run_and_those_in_one_piece_are_not():
    whole, parts = map(int, process(code=FAULTS).stdout.split())
    assert whole > 20 and parts < whole / 10


WARNINGS = """
import sys
import jax, jax.numpy as jnp
from jaxformer.parallel.temporaries import PART, in_parts, quiet

level = jax.config.jax_logging_level
table = jax.ShapeDtypeStruct((3, PART // 8), jnp.float32)

def compile_for(order):
    program = jax.jit(lambda x: jnp.sort(jnp.sort(x, 0), order).sum(), compiler_options=in_parts("cpu"))
    program.lower(table).compile()

try:
    with quiet("cpu"):
        compile_for(0)
        raise ZeroDivisionError
except ZeroDivisionError:
    assert jax.config.jax_logging_level == level
print("heard from here on", file=sys.stderr, flush=True)
compile_for(1)
"""


def test_the_compiler_warns_of_no_large_array_while_it_is_quiet_and_does_afterwards():
    before, mark, after = process(code=WARNINGS, cache="").stderr.partition("heard from here on")
    assert mark and "per-heap size limit" not in before and "per-heap size limit" in after


def test_other_devices_lay_out_their_own_memory_and_may_warn():
    level = jax.config.jax_logging_level
    assert in_parts("gpu") is None and in_parts("cpu")
    with quiet("gpu"):
        assert jax.config.jax_logging_level == level
