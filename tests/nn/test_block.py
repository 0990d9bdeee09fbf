"""Blocks: where the norms stand, what is forgotten, and that a layer of the stack is a block."""

from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.config import blocks
from jaxformer.config.blocks import Parallel, PostNorm, PreNorm, RmsNorm, SandwichNorm
from jaxformer.nn.attention import Where
from jaxformer.nn.block import Block, Context, Residual, around
from jaxformer.nn.ffn import FeedForward
from jaxformer.nn.norm import Norm
from jaxformer.ops.attention.masks import Valid
from tests.laws.cases import NO_POSITION, PAD, case, pairs
from tests.parity.compare import assert_close, normal, random_like

B, T, D, F = 3, 7, 10, 13
RATE = 64 / 256


def tripled(h):
    """A sublayer that triples what it reads, and says what it read."""
    return 3 * h, h


class Around(nn.Module):
    """A `Residual` around it."""

    placement: blocks.Placement
    rate: float = 0.0

    @nn.compact
    def __call__(self, x_BTD):
        return Residual(self.placement, dropout=self.rate)(tripled, x_BTD)


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


def test_a_sandwich_normalises_what_is_read_and_what_is_added():
    x = 5 + normal(0, B, T, D)
    y, read = Around(SandwichNorm()).init_with_output(jax.random.key(0), x)[0]
    assert_close((y, read), (x + normalised(3 * normalised(x)), normalised(x)), 1e-5)


@pytest.mark.parametrize("norms", [1, 2])
def test_parallel_sublayers_read_the_same_stream(norms):
    """x + attention(norm(x)) + feed-forward(norm(x)), the parts taken one by one."""
    config = blocks.Block(blocks.MultiHead(2, 2, 5), blocks.FeedForward(F), RmsNorm(), Parallel(norms))
    x, block = normal(0, B, T, D), Block(config, D)
    shapes = jax.eval_shape(block.init, jax.random.key(0), x, None, Context())
    params = random_like(nn.meta.unbox(shapes), seed=1)

    def apart(module, x):
        h, g = module.norms[0](x), module.norms[-1](x)
        return x + module.attention(h, module.attention.rows(h))[0] + module.feed_forward(g)[0]

    assert_close(block.apply(params, x, None, Context())[0], block.apply(params, x, method=apart), 1e-6)
    assert sum(name.startswith("norms") for name in params["params"]) == norms


def test_only_a_stream_that_was_never_normalised_has_a_final_norm():
    for placement, norm in ((PreNorm(), blocks.LayerNorm()), (PostNorm(), None)):
        assert replace(NO_POSITION, norm=placement).written_out().norm == norm


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_feed_forward_is_the_formula(bias):
    x, module = normal(0, B, T, D), FeedForward(blocks.FeedForward(F, bias=bias))
    params = random_like(nn.meta.unbox(jax.eval_shape(module.init, jax.random.key(0), x)), seed=1)
    p = params["params"]
    hidden = np.maximum(x.astype(float) @ p["up"] + p.get("up_bias", 0), 0)
    assert_close(module.apply(params, x)[0], hidden @ p["down"] + p.get("down_bias", 0), 1e-6)
    assert len(p) == (4 if bias else 2)


def test_feed_forward_forgets_hidden_units():
    """With the identity for both matrices the output is the hidden layer."""
    x = np.abs(normal(0, 101, T, D))
    params = {"params": {"up": np.eye(D), "down": np.eye(D)}}
    module = FeedForward(blocks.FeedForward(D, bias=False), RATE)
    y, _ = module.apply(params, x, rngs={"dropout": jax.random.key(1)})
    kept = np.asarray(y) != 0
    np.testing.assert_allclose(np.asarray(y)[kept], x[kept] / (1 - RATE), rtol=1e-5)
    assert abs(kept.mean() - (1 - RATE)) < 5 * np.sqrt(RATE * (1 - RATE) / x.size)


def test_the_stack_is_one_block_after_the_other():
    """A plain loop over the slices of the encoder's parameters."""
    subject, source_BS = case(NO_POSITION), pairs().source_BS
    block = jax.jit(Block(NO_POSITION.written_out().encoder[0].blocks[0], NO_POSITION.width).apply)
    params = subject.params["params"]
    x_BSD = jnp.take(params["embedding"]["table"], source_BS, axis=0) * NO_POSITION.width**0.5
    for layer in range(NO_POSITION.encoder_layers):
        slices = jax.tree.map(lambda leaf, layer=layer: leaf[layer], params["encoder"]["rows_0"]["blocks_0"])
        x_BSD, _ = block({"params": slices}, x_BSD, None, Context(Where(Valid(source_BS != PAD))))
    x_BSD = Norm().apply({"params": params["encoder_norm"]}, x_BSD)
    assert_close(subject.compiled("encode")(subject.params, source_BS), x_BSD, 2e-6)


def test_an_unknown_placement_is_refused():
    with pytest.raises(TypeError, match="no rule for norm placement str"):
        around("sandwich", None, None, None, jnp.zeros(D))
