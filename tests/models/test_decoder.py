"""The decoder's vectors are those that its logits are made of."""

from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxformer.config.decoders import gpt2
from jaxformer.models.decoder import Decoder
from tests.parity.compare import assert_close, random_like

B, T, D, V = 3, 7, 2 * 5, 11


def test_logits_are_made_of_the_vectors_that_encode_gives():
    model = Decoder(replace(gpt2(D, 2, 2, context=13, dropout=0.0), tied_output=False), V)
    tokens_BT = jax.random.randint(jax.random.key(0), (B, T), 0, V)
    params = random_like(nn.meta.unbox(jax.eval_shape(model.init, jax.random.key(1), tokens_BT)), seed=3)
    x_BTD = model.apply(params, tokens_BT, method="encode")
    assert x_BTD.shape == (B, T, D)
    logits_BTV = jnp.einsum("btd,vd->btv", x_BTD, params["params"]["output"])
    assert_close(logits_BTV, np.asarray(model.apply(params, tokens_BT)), tolerance=2e-6)
