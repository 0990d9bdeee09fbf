"""Who influences whom, read off the Jacobian: the future, the neighbours in the batch and padding reach nothing."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.nn.embedding import Embedding
from tests.laws.cases import CONFIGS, PAD, SOURCE_LENGTHS, B, S, T, V, case, case_argument, padded, tokens
from tests.parity.compare import normal


def jacobian(config, source_BS, target_BT):
    """|d logits[b, t] / d embedding[c, s]| of source [B, T, B, S] and target [B, T, B, T]: 0 where nothing is felt.

    The vocabulary is summed with random weights and the largest entry over the embedding's width taken, neither of
    which turns something into 0 or 0 into something.
    """
    model, params = case(config).model, case(config).params
    D = params["params"]["embedding"]["table"].shape[1]
    weights_V = normal(5, V)

    def felt(pushes):
        def push(embed, args, kwargs, context):
            x_BTD = embed(*args, **kwargs)
            pushed = isinstance(context.module, Embedding) and context.method_name == "__call__"
            return x_BTD + pushes[x_BTD.shape[1]] if pushed else x_BTD

        with nn.intercept_methods(push):
            return model.apply(params, source_BS, target_BT) @ weights_V

    nothing = {length: jnp.zeros((B, length, D)) for length in (S, T)}
    by_length = jax.jit(jax.jacrev(felt))(nothing)
    return tuple(np.abs(by_length[length]).max(-1) for length in (S, T))


@pytest.fixture(scope="module", params=map(case_argument, CONFIGS))
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
