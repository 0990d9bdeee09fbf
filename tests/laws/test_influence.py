"""Who influences whom, read off the Jacobian: the future, the neighbours in the batch and padding reach nothing."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.nn.embedding import Embedding
from tests.laws.cases import MODELS, PAD, SOURCE_LENGTHS, B, S, T, V, case, padded, tokens
from tests.parity.compare import normal


def jacobian(config, source_BS, target_BT):
    """|d logits[b, t] / d embedding[c, s]| of source [B, T, B, S] and target [B, T, B, T]: 0 where nothing is felt.

    The vocabulary is summed with random weights and the largest entry over the embedding's width taken, neither of
    which turns something into 0 or 0 into something.
    """
    model, params = case(config).model, case(config).params
    D = params["params"]["embedding"]["table"].shape[1]
    weights_V = normal(5, V)

    def felt_BT(pushes):
        def push(embed, args, kwargs, context):
            x_BTD = embed(*args, **kwargs)
            pushed = isinstance(context.module, Embedding) and context.method_name == "__call__"
            return x_BTD + pushes[x_BTD.shape[1]] if pushed else x_BTD

        with nn.intercept_methods(push):
            return model.apply(params, source_BS, target_BT) @ weights_V

    @jax.jit
    def rows(pushes):
        _, pull_back = jax.vjp(felt_BT, pushes)
        # One row after the other: a batch of pullbacks would be another program than the one that trains.
        return jax.lax.map(lambda one: pull_back(one)[0], jnp.eye(B * T).reshape(B * T, B, T))

    by_length = rows({length: jnp.zeros((B, length, D)) for length in (S, T)})
    return tuple(np.abs(by_length[length]).max(-1).reshape(B, T, B, length) for length in (S, T))


@pytest.fixture(scope="module", params=MODELS)
def influence(request):
    return jacobian(request.param, padded(tokens(1, B, S), SOURCE_LENGTHS), tokens(2, B, T))


same_row = np.eye(B, dtype=bool)[:, None, :, None]


@pytest.mark.smoke
def test_a_token_feels_itself_and_the_past_of_its_own_row_and_nothing_else(influence):
    past = np.tril(np.ones((T, T), bool))[None, :, None, :]
    np.testing.assert_array_equal(influence[1] != 0, same_row & past)


@pytest.mark.smoke
def test_a_token_feels_every_source_token_of_its_own_row_and_no_padding(influence):
    there = (padded(np.ones((B, S), np.int32), SOURCE_LENGTHS) != PAD)[None, None]
    expected = np.broadcast_to(same_row & there, influence[0].shape)
    np.testing.assert_array_equal(influence[0] != 0, expected)
