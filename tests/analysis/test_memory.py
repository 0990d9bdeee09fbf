"""Memory: closed forms for a small network, the compiler's plan for the whole, less of it with rematerialisation."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxformer.analysis.memory import readable, saved_for_backward, size_of, training_memory
from jaxformer.analysis.parameters import abstract_parameters
from jaxformer.config.model import Layers, TransformerConfig
from jaxformer.models.seq2seq import Transformer

B, D, F, FLOAT = 503, 53, 101, 4


def shape(*dimensions):
    return jax.ShapeDtypeStruct(dimensions, jnp.float32)


def network(params, x_BD):
    for w_DF, w_FD in params:
        x_BD = x_BD + (x_BD @ w_DF) @ w_FD
    return jnp.sum(x_BD)


PARAMS = [(shape(D, F), shape(F, D))] * 7


def test_a_layer_keeps_its_input_and_its_hidden_values():
    # The first layer's input is given anyway.
    inputs, hidden = (len(PARAMS) - 1) * B * D * FLOAT, len(PARAMS) * B * F * FLOAT
    assert saved_for_backward(network, PARAMS, shape(B, D)) == inputs + hidden


def test_rematerialised_layers_keep_their_inputs_alone():
    def rematerialised(params, x_BD):
        layer = jax.checkpoint(lambda w, x: x + (x @ w[0]) @ w[1])
        for w in params:
            x_BD = layer(w, x_BD)
        return jnp.sum(x_BD)

    assert saved_for_backward(rematerialised, PARAMS, shape(B, D)) == (len(PARAMS) - 1) * B * D * FLOAT


def test_parts_are_those_of_adam_training():
    parts = training_memory(network, optax.adam(1e-3), PARAMS, shape(B, D))
    parameters = len(PARAMS) * 2 * D * F * FLOAT
    assert parts["parameters"] == parts["gradients"] == parameters == size_of(PARAMS)
    assert parts["optimizer state"] == 2 * parameters + 4
    assert parts["activations"] == saved_for_backward(network, PARAMS, shape(B, D))


def test_estimate_is_close_to_the_compilers_plan():
    optimizer = optax.adam(1e-3)

    def step(params, state, x_BD):
        updates, state = optimizer.update(jax.grad(network)(params, x_BD), state)
        return optax.apply_updates(params, updates), state

    state = jax.eval_shape(optimizer.init, PARAMS)
    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(PARAMS, state, shape(B, D)).compile()
    plan = compiled.memory_analysis()
    assert plan.argument_size_in_bytes == size_of((PARAMS, state, shape(B, D)))
    # Results that take the place of donated arguments need no room of their own.
    results = plan.output_size_in_bytes - plan.alias_size_in_bytes
    taken = plan.argument_size_in_bytes + results + plan.temp_size_in_bytes + plan.generated_code_size_in_bytes
    estimate = training_memory(network, optimizer, PARAMS, shape(B, D))
    assert sum(estimate.values()) == pytest.approx(taken, rel=0.25)


def test_layouts_of_a_transformer_keep_what_they_should():
    config = TransformerConfig(width=26, encoder_layers=3, decoder_layers=2, heads=13, feed_forward=19)
    tokens = jax.ShapeDtypeStruct((5, 17), jnp.int32)

    def kept(layers):
        model = Transformer(replace(config, layers=layers), 53)
        loss = lambda params: jnp.sum(model.apply(params, tokens_BS, tokens_BS))  # noqa: E731
        tokens_BS = jnp.ones(tokens.shape, tokens.dtype)
        return saved_for_backward(loss, abstract_parameters(model))

    scanned, unrolled, rematerialised = kept(Layers()), kept(Layers(unroll=True)), kept(Layers(remat=True))
    assert unrolled == pytest.approx(scanned, rel=0.05)
    assert rematerialised < scanned / 2


@pytest.mark.parametrize("count, words", [
    (0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (3 << 20, "3.0 MiB"), (5 << 40, "5.0 TiB"),
])  # fmt: skip
def test_sizes_are_readable(count, words):
    assert readable(count) == words
