"""A head that was taken out adds nothing, or its mean; the others do what they did."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.analysis.ablation import ablate_each, ablated, head_outputs, mean_head_outputs
from jaxformer.analysis.hidden_states import hidden_states
from jaxformer.config.blocks import Block, FeedForward, Group, Latent, MultiHead
from jaxformer.config.model import DecoderConfig
from jaxformer.models.decoder import Decoder
from jaxformer.objectives import translation
from tests.laws.cases import POST_NORM, PRE_NORM, RNN_ATTENTION, S, V, case, padded, pairs, tokens
from tests.parity.compare import assert_close, random_like

LOCAL, LATENT = MultiHead(3, 1, 5, bias=False, window=3), Latent(3, 8, 6, 4, value_width=5)
GROUPS = (
    Group((Block(LOCAL, FeedForward(11)), Block(LATENT, FeedForward(11))), 2),
    Group((Block(LOCAL, FeedForward(11)),)),
)
DECODER = Decoder(DecoderConfig(14, GROUPS), V)
LAYERS = [("rows_0", "blocks_0", 0), ("rows_0", "blocks_1", 0)]
LAYERS = [*LAYERS, *((row, block, 1) for row, block, _ in LAYERS), ("rows_1", "blocks_0", 0)]
"""Where the parameters of each layer lie."""
TOKENS = tokens(0, 2, 7)


@pytest.fixture(scope="module")
def params():
    return random_like(nn.meta.unbox(jax.eval_shape(DECODER.init, jax.random.key(0), TOKENS)), seed=1)


def test_each_head_in_turn_is_the_model_whose_rows_are_zeroed_by_hand(params):
    measure = jax.jit(partial(DECODER.apply, tokens_BT=TOKENS))
    found = jax.jit(lambda params: ablate_each(DECODER, params, measure))(params)
    assert found.keys() == {"decoder"} and found["decoder"].shape == (5, 3, *TOKENS.shape, V)
    for layer, (row, block, turn) in enumerate(LAYERS):
        for head in range(3):
            by_hand = jax.tree.map(np.copy, params)
            by_hand["params"]["layers"][row][block]["attention"]["output"][turn, head] = 0
            assert_close(found["decoder"][layer, head], measure(by_hand), 1e-6)


def test_what_is_kept_whole_changes_nothing(params):
    whole = jax.jit(lambda params: ablated(DECODER, params, {"decoder": np.ones((5, 3))}))(params)
    jax.tree.map(np.testing.assert_array_equal, whole, params)


def test_the_mean_of_one_token_is_the_token(params):
    """So a model of one token may lose all its heads to their means."""

    @jax.jit
    def both(params):
        means = mean_head_outputs(DECODER, params, TOKENS[:1, :1])
        headless = ablated(DECODER, params, {"decoder": jnp.zeros((5, 3))}, means)
        return DECODER.apply(headless, TOKENS[:1, :1]), DECODER.apply(params, TOKENS[:1, :1])

    assert_close(*both(params), 1e-6)


@pytest.mark.slow
def test_outputs_times_their_projection_is_what_attention_adds(params):
    """The first layer's, whose output is the stream's first change where the feed-forward layer adds nothing."""
    silent = jax.tree.map(np.copy, params)
    for name in ("down", "down_bias"):
        silent["params"]["layers"]["rows_0"]["blocks_0"]["feed_forward"][name][0] = 0
    found = jax.jit(partial(head_outputs, DECODER))(silent, TOKENS)["decoder"]
    assert found.shape == (5, *TOKENS.shape, 3, 5)
    states = jax.jit(partial(hidden_states, DECODER))(silent, TOKENS)["decoder"]
    wo_NHD = silent["params"]["layers"]["rows_0"]["blocks_0"]["attention"]["output"][0]
    assert_close(states[1] - states[0], np.einsum("btnh,nhd->btd", found[0], wo_NHD), 1e-5)


@pytest.mark.parametrize(
    "config", [PRE_NORM, pytest.param(POST_NORM, marks=pytest.mark.slow)], ids=["pre-norm", "post-norm"]
)
def test_a_decoder_without_cross_attention_does_not_know_its_source(config):
    subject, (source_BS, target_BT) = case(config), pairs()
    shape = (config.decoder_layers, config.heads)

    @jax.jit
    def logits(kept_LN, source_BS):
        params = ablated(subject.model, subject.params, {"cross": kept_LN})
        return subject.model.apply(params, source_BS, target_BT)

    other_BS = pairs(7).source_BS
    np.testing.assert_array_equal(logits(np.zeros(shape), source_BS), logits(np.zeros(shape), other_BS))
    one = np.zeros(shape)
    one[1, 0] = 1
    assert not np.allclose(logits(one, source_BS), logits(one, other_BS))


@pytest.mark.slow
def test_a_loss_without_each_head_of_each_kind():
    subject, batch = case(PRE_NORM), pairs()
    objective = translation(subject.model)

    @jax.jit
    def losses(params):
        measure = lambda params: objective(params, batch, None).costs.loss  # noqa: E731
        encoder = ablated(subject.model, params, {"encoder": jnp.ones((5, 2)).at[3, 0].set(0)})
        return ablate_each(subject.model, params, measure), measure(encoder)

    found, one = losses(subject.params)
    assert {kind: each.shape for kind, each in found.items()} == {"encoder": (5, 2), "decoder": (3, 2), "cross": (3, 2)}
    np.testing.assert_allclose(found["encoder"][3, 0], one, rtol=1e-5)
    assert np.unique(np.concatenate([each.ravel() for each in found.values()])).size == 22


@pytest.mark.slow
def test_padding_does_not_count_in_a_mean():
    subject = case(PRE_NORM)
    source_BS, target_BT = tokens(1, 1, 5), tokens(2, 1, 3)
    longer = padded(np.pad(source_BS, [(0, 0), (0, S - 5)]), [5]), np.pad(target_BT, [(0, 0), (0, 2)])
    means = jax.jit(partial(mean_head_outputs, subject.model))
    assert_close(means(subject.params, *longer), means(subject.params, source_BS, target_BT), 1e-5)


@pytest.mark.slow
def test_several_seeds_are_mapped_over(params):
    measure = lambda params: jnp.mean(DECODER.apply(params, TOKENS) ** 2)  # noqa: E731
    seeds = [params, jax.tree.map(lambda leaf: leaf[..., ::-1], params)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *seeds)
    each = partial(ablate_each, DECODER, measure=measure)
    together = jax.jit(jax.vmap(each))(stacked)["decoder"]
    for found, params in zip(together, seeds, strict=True):
        assert_close(found, jax.jit(each)(params)["decoder"], 1e-5)


def test_a_recurrent_network_has_no_heads():
    assert ablate_each(case(RNN_ATTENTION).model, case(RNN_ATTENTION).params, lambda params: 0) == {}


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ({"encoder": np.ones((5, 3))}, "must name kinds of attention that the model has, decoder, got 'encoder'"),
        ({"decoder": np.ones((3, 5))}, r"kept\['decoder'\] must be \[layers, heads\] = \[5, 3\], got \[3, 5\]"),
    ],
)
def test_what_is_not_there_cannot_be_kept(params, kept, words):
    with pytest.raises(ValueError, match=words):
        ablated(DECODER, params, kept)


def test_layers_that_differ_in_their_heads_are_refused():
    groups = tuple(Group((Block(MultiHead(heads, 1, 5), FeedForward(3)),)) for heads in (2, 3))
    with pytest.raises(ValueError, match=r"must have as many heads each to be ablated as one array, got \[2, 3\]"):
        ablate_each(Decoder(DecoderConfig(14, groups), V), {}, lambda params: 0)
