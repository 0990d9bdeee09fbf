"""Blocks: where the norms stand, what is forgotten, and that a layer of the stack is a block."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.config.model import PostNorm, PreNorm
from jaxformer.nn.block import EncoderBlock, around, final_norm
from jaxformer.nn.dropout import Dropout
from jaxformer.nn.ffn import FeedForward
from jaxformer.nn.norm import LayerNorm
from jaxformer.ops.attention.masks import Valid
from tests.laws.cases import NO_POSITION, PAD, case, pairs
from tests.parity.compare import assert_close, normal, random_like

B, T, D, F = 3, 7, 10, 13
RATE = 64 / 256


class Around(nn.Module):
    """`around` a sublayer that triples what it reads."""

    placement: PreNorm | PostNorm
    rate: float = 0.0

    @nn.compact
    def __call__(self, x_BTD):
        return around(self.placement, lambda h: (3 * h, h), LayerNorm(), Dropout(self.rate), x_BTD)


def normalised(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def test_pre_norm_normalises_what_the_sublayer_reads():
    x = 5 + normal(0, B, T, D)
    y, read = Around(PreNorm()).init_with_output(jax.random.key(0), x)[0]
    assert_close((y, read), (x + 3 * normalised(x), normalised(x)), 1e-5)


def test_post_norm_normalises_the_sum():
    x = 5 + normal(0, B, T, D)
    y, read = Around(PostNorm()).init_with_output(jax.random.key(0), x)[0]
    assert_close((y, read), (normalised(x + 3 * x), x), 1e-5)


def test_the_residual_stream_is_not_forgotten_but_what_is_added_to_it():
    x = normal(0, 101, T, D)
    module = Around(PreNorm(), RATE)
    (y, _), params = module.init_with_output(jax.random.key(0), x)
    y, _ = module.apply(params, x, rngs={"dropout": jax.random.key(1)})
    added = (np.asarray(y) - x) / (3 * normalised(x))
    forgotten = np.abs(added) < 1e-3
    np.testing.assert_allclose(added[~forgotten], 1 / (1 - RATE), atol=1e-2)
    assert abs(forgotten.mean() - RATE) < 5 * np.sqrt(RATE * (1 - RATE) / x.size)


def test_only_a_stream_that_was_never_normalised_has_a_final_norm():
    x = 5 + normal(0, B, T, D)
    assert isinstance(final_norm(PreNorm()), LayerNorm)
    assert final_norm(PostNorm())(x) is x


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_feed_forward_is_the_formula(bias):
    x, module = normal(0, B, T, D), FeedForward(F, bias)
    params = random_like(nn.meta.unbox(jax.eval_shape(module.init, jax.random.key(0), x)), seed=1)
    p = params["params"]
    hidden = np.maximum(x.astype(float) @ p["up"] + p.get("up_bias", 0), 0)
    assert_close(module.apply(params, x), hidden @ p["down"] + p.get("down_bias", 0), 1e-6)
    assert len(p) == (4 if bias else 2)


def test_feed_forward_forgets_hidden_units():
    """With the identity for both matrices the output is the hidden layer."""
    x = np.abs(normal(0, 101, T, D))
    params = {"params": {"up": np.eye(D), "down": np.eye(D)}}
    y = FeedForward(D, bias=False, dropout=RATE).apply(params, x, rngs={"dropout": jax.random.key(1)})
    kept = np.asarray(y) != 0
    np.testing.assert_allclose(np.asarray(y)[kept], x[kept] / (1 - RATE), rtol=1e-5)
    assert abs(kept.mean() - (1 - RATE)) < 5 * np.sqrt(RATE * (1 - RATE) / x.size)


def test_the_stack_is_one_block_after_the_other():
    """A plain loop over the slices of the encoder's parameters."""
    subject, source_BS = case(NO_POSITION), pairs().source_BS
    params, block = subject.params["params"], jax.jit(EncoderBlock(NO_POSITION).apply)
    x_BSD = jnp.take(params["embedding"]["table"], source_BS, axis=0) * NO_POSITION.width**0.5
    for layer in range(NO_POSITION.encoder_layers):
        slices = jax.tree.map(lambda leaf, layer=layer: leaf[layer], params["encoder"])
        x_BSD, _ = block({"params": slices}, x_BSD, Valid(source_BS != PAD))
    x_BSD = LayerNorm().apply({"params": params["encoder_norm"]}, x_BSD)
    assert_close(subject.compiled("encode")(subject.params, source_BS), x_BSD, 2e-6)


def test_an_unknown_placement_is_refused():
    with pytest.raises(TypeError, match="no rule for norm placement str"):
        around("sandwich", None, None, None, jnp.zeros(D))
