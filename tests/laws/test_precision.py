"""In half precision every sum still runs in float32: bfloat16 has 8 bits, and a long sum in it stops growing."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest
from jax.extend.core import jaxprs_in_params

from jaxformer.config.model import Bahdanau, Tanh
from jaxformer.objectives import translation
from tests.laws.cases import CONFIGS, RNN, SOURCE_LENGTHS, B, Case, S, T, padded, pairs, tokens

LSTM_ATTENTION = replace(RNN, attention=Bahdanau(19))
SUBJECTS = {**CONFIGS, "tanh-RNN": replace(RNN, cell=Tanh()), "LSTM with attention": LSTM_ATTENTION}


def products(jaxpr):
    """The operands' and the result's types of every product in a traced program, loops' bodies included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield tuple(variable.aval.dtype for variable in equation.invars), equation.outvars[0].aval.dtype
        for inner in jaxprs_in_params(equation.params):
            yield from products(inner)


def half(config):
    return Case(replace(config, dtype="bfloat16"))


def assert_all_in_float32(program):
    found = list(products(program.jaxpr))
    assert any(jnp.bfloat16 in operands for operands, _ in found)
    assert {result for _, result in found} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("config", SUBJECTS.values(), ids=SUBJECTS)
def test_training_accumulates_no_product_in_half_precision(config):
    subject = half(config)
    objective = translation(subject.model, smoothing=0.1, z_weight=1e-3)
    loss = lambda params, batch, key: objective(params, batch, key).costs.loss  # noqa: E731
    assert_all_in_float32(jax.make_jaxpr(jax.value_and_grad(loss))(subject.params, pairs(), jax.random.key(0)))


@pytest.mark.parametrize("config", SUBJECTS.values(), ids=SUBJECTS)
def test_decoding_accumulates_no_product_in_half_precision(config):
    subject = half(config)

    def decoded(params, source_BS, target_BT):
        _, cache = subject.model.apply(params, source_BS, target_BT[:, :3], T, method="prefill")
        return subject.model.apply(params, target_BT[:, 3:], cache, method="decode")

    source_BS = padded(tokens(1, B, S), SOURCE_LENGTHS)
    assert_all_in_float32(jax.make_jaxpr(decoded)(subject.params, source_BS, tokens(2, B, T)))
