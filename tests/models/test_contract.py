"""What every sequence-to-sequence model promises, whatever it is made of."""

from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.analysis.attention_maps import attention_maps
from jaxformer.nn.recorder import Weights
from jaxformer.objectives import translation
from tests.laws.cases import CONFIGS, LATER, PAD, PRE_NORM, RNN_ATTENTION, B, S, T, V, case, every_model, pairs, tokens
from tests.parity.compare import assert_close


@pytest.mark.smoke
@pytest.mark.parametrize("model", [*CONFIGS.values(), *LATER.values()], ids=[*CONFIGS, *LATER])
def test_logits_are_features_times_the_output_matrix_plus_its_bias(model):
    subject = case(model)
    logits_BTV = subject.logits(*pairs())
    x_BTD, w_VD, bias_V = subject.compiled("features")(subject.params, *pairs())
    assert logits_BTV.shape == (B, T, V) and logits_BTV.dtype == np.float32
    assert_close(logits_BTV, x_BTD @ w_VD.T + (0 if bias_V is None else bias_V), 1e-6)


@pytest.mark.parametrize("model", LATER.values(), ids=LATER)
def test_the_cost_of_a_translation_is_that_of_its_logits(model):
    subject, batch = case(model), pairs()
    total = jax.jit(translation(subject.model))(subject.params, batch, None)
    inputs_BT, labels_BT = batch.target_BT[:, :-1], batch.target_BT[:, 1:]
    logits_BTV = np.asarray(subject.logits(batch.source_BS, inputs_BT), np.float64)
    log_p_BTV = logits_BTV - np.log(np.exp(logits_BTV).sum(-1, keepdims=True))
    nll_BT = -np.take_along_axis(log_p_BTV, labels_BT[..., None], axis=-1)[..., 0]
    assert_close(total.costs.nll, nll_BT[labels_BT != PAD].sum(), 1e-5)


@every_model
def test_recording_changes_no_logit_and_maps_are_distributions_over_what_is_there(model):
    subject, (source_BS, target_BT) = case(model), pairs()
    maps = jax.jit(partial(attention_maps, subject.model))(subject.params, source_BS, target_BT)
    there_BS, past_TT = source_BS != 0, np.tril(np.ones((T, T), bool))
    allowed = {
        "encoder": there_BS[None, :, None, None, :],
        "decoder": past_TT[None, None, None],
        "cross": there_BS[None, :, None, None, :],
    }
    some_BS = there_BS.any(1)
    for name, weights_LBNTS in maps.items():
        readable = np.broadcast_to(allowed[name], weights_LBNTS.shape)
        rows = slice(None) if name == "decoder" else some_BS
        assert not np.any(np.where(readable, 0, weights_LBNTS)[:, rows])
        np.testing.assert_allclose(weights_LBNTS[:, rows].sum(-1), 1, rtol=1e-5)
    recording = subject.model.recording(Weights())
    assert_close(jax.jit(recording.apply)(subject.params, *pairs()), subject.logits(*pairs()), 1e-6)


def test_maps_have_an_axis_for_layers_and_heads():
    def shapes(config):
        maps = partial(attention_maps, case(config).model)
        return jax.tree.map(np.shape, jax.eval_shape(maps, case(config).params, *pairs()))

    heads, encoder, decoder = PRE_NORM.heads, PRE_NORM.encoder_layers, PRE_NORM.decoder_layers
    assert shapes(PRE_NORM) == {
        "encoder": (encoder, B, heads, S, S),
        "decoder": (decoder, B, heads, T, T),
        "cross": (decoder, B, heads, T, S),
    }
    assert shapes(RNN_ATTENTION) == {"cross": (1, B, 1, T, S)}


@pytest.mark.parametrize("config", [PRE_NORM, RNN_ATTENTION], ids=["pre-norm", "rnn with attention"])
def test_half_precision_is_near_full_precision(config):
    half = case(replace(config, dtype="bfloat16"))
    logits_BTV, full = half.logits(*pairs()), case(config).logits(*pairs())
    features, *_ = jax.eval_shape(half.compiled("features"), half.params, *pairs())
    assert features.dtype == jnp.bfloat16 and logits_BTV.dtype == np.float32
    assert_close(logits_BTV, full, 16 * 2.0**-8)
    assert not np.array_equal(logits_BTV, full)


@every_model
def test_boxed_and_plain_parameters_compute_the_same(model):
    """Fresh parameters carry their axes' names in a box, which a mesh needs and the model does not."""
    subject = case(model)
    boxed = jax.jit(subject.model.init)(jax.random.key(0), tokens(1, 1, 2), tokens(2, 1, 3))
    apply = jax.jit(subject.model.apply)
    np.testing.assert_array_equal(apply(boxed, *pairs()), apply(nn.meta.unbox(boxed), *pairs()))
