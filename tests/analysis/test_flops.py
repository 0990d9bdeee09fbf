"""The formulas count what the programs compute: every matrix product of the traced program, and XLA's own count."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest
from jax.extend.core import jaxprs_in_params

from jaxformer.analysis.flops import forward_flops, training_flops, training_flops_per_target_token
from jaxformer.config.blocks import FeedForward, Gated
from jaxformer.config.encoder_decoders import marian, t5
from jaxformer.config.model import Bahdanau, Gru, Layers, Lstm, NoAttention, RnnConfig, Tanh, TransformerConfig
from jaxformer.models.build import build
from jaxformer.models.seq2seq import Transformer

V, S, T = 53, 7, 11
TRANSFORMER = TransformerConfig(width=26, encoder_layers=3, decoder_layers=2, heads=13, feed_forward=19)
RNN = RnnConfig(embedding=17, width=22, layers=3)
CONFIGS = {
    "transformer": TRANSFORMER,
    "untied": replace(TRANSFORMER, tied_output=False),
    "unrolled": replace(TRANSFORMER, layers=Layers(unroll=True)),
    "t5": t5(26, 3, 13, 3, FeedForward(19, "relu", bias=False)),
    "t5 with gates": t5(26, 3, 13, 3, Gated(19), tied=False),
    "marian": marian(26, 3, 13, 19),
    "tanh": replace(RNN, cell=Tanh()),
    "gru": replace(RNN, cell=Gru()),
    "lstm": replace(RNN, cell=Lstm()),
    "gru-attention": replace(RNN, cell=Gru(), attention=Bahdanau(width=5)),
    "lstm-attention": replace(RNN, cell=Lstm(), attention=Bahdanau(width=5)),
    "one-layer-attention": replace(RNN, layers=1, attention=Bahdanau(width=5)),
}


def model_of(config):
    return build(config, V)


def inputs(source=S, target=T):
    return tuple(jax.ShapeDtypeStruct((1, length), jnp.int32) for length in (source, target))


def parameters(model):
    return jax.eval_shape(model.init, jax.random.key(0), *inputs())


def traced_product_flops(jaxpr):
    """2 per multiply-add of every matrix product that a traced program runs, loops' bodies as often as they run."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            summed = [equation.invars[0].aval.shape[axis] for axis in contracted]
            total += 2 * math.prod(summed) * math.prod(equation.outvars[0].aval.shape)
        runs = equation.params["length"] if equation.primitive.name == "scan" else 1
        total += runs * sum(traced_product_flops(inner) for inner in jaxprs_in_params(equation.params))
    return total


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_formula_counts_every_product_of_the_forward_pass(config):
    model = model_of(config)
    program = jax.make_jaxpr(model.apply)(parameters(model), *inputs())
    assert sum(forward_flops(config, V, S, T).values()) == traced_product_flops(program.jaxpr)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_training_costs_three_forward_passes(config):
    model = model_of(config)
    loss = lambda params, source, target: jnp.square(model.apply(params, source, target)).sum()  # noqa: E731
    program = jax.make_jaxpr(jax.grad(loss))(parameters(model), *inputs())
    assert sum(training_flops(config, V, S, T).values()) == traced_product_flops(program.jaxpr)


def test_formula_agrees_with_the_compiler():
    # XLA also counts the elementwise operations, which at widths of real models are a few percent of the products.
    config = TransformerConfig(128, 2, 2, heads=4, feed_forward=256, layers=Layers(unroll=True))
    model = Transformer(config, 1009)
    compiled = jax.jit(model.apply).lower(parameters(model), *inputs(31, 37)).compile()
    counted = compiled.cost_analysis()["flops"]
    assert sum(forward_flops(config, 1009, 31, 37).values()) == pytest.approx(counted, rel=0.05)


def test_parts_move_with_their_own_dimension_alone():
    wide = replace(TRANSFORMER, feed_forward=2 * TRANSFORMER.feed_forward)
    before, after = forward_flops(TRANSFORMER, V, S, T), forward_flops(wide, V, S, T)
    assert after == before | {"feed-forward": 2 * before["feed-forward"]}
    assert forward_flops(TRANSFORMER, 2 * V, S, T) == before | {"logits": 2 * before["logits"]}
    longer = forward_flops(TRANSFORMER, V, 2 * S, 2 * T)
    assert longer == {part: (4 if part == "attention scores" else 2) * count for part, count in before.items()}


def test_attention_is_what_an_rnn_with_attention_adds_per_pair_of_tokens():
    config = CONFIGS["gru-attention"]
    cross = lambda S, T: sum(forward_flops(config, V, S, T).values())  # noqa: E731
    mixed = cross(S + 1, T + 1) - cross(S + 1, T) - cross(S, T + 1) + cross(S, T)
    assert isinstance(config.attention, Bahdanau)
    assert mixed == 2 * (config.attention.width + config.width)
    plain = replace(config, attention=NoAttention())
    assert sum(forward_flops(plain, V, 2 * S, 2 * T).values()) == 2 * sum(forward_flops(plain, V, S, T).values())


def test_target_tokens_bear_the_cost_of_their_source():
    total = sum(training_flops(TRANSFORMER, V, S, T).values())
    assert training_flops_per_target_token(TRANSFORMER, V, S, T) * T == pytest.approx(total)


def test_unknown_config_is_refused():
    with pytest.raises(TypeError, match="no FLOP formula for dict"):
        forward_flops({}, V, S, T)
