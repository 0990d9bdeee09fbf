"""Temporaries of a compiled program, where malloc keeps what is freed."""

import sys
from types import SimpleNamespace
from typing import Any, cast

import jax
import pytest

from jaxformer.parallel.temporaries import in_parts
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
for options in (None, in_parts(jax.devices()[0])):
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


def test_other_devices_lay_out_their_own_memory():
    assert in_parts(cast(Any, SimpleNamespace(platform="gpu"))) is None
    assert in_parts(jax.devices("cpu")[0])
