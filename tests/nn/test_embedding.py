"""Tokens to vectors, positions added, and back to logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.config.model import Learned, NoPosition, Sinusoidal
from jaxformer.nn.embedding import Embedding, Positions, add_position
from jaxformer.ops.positions import sinusoid
from tests.parity.compare import assert_close, normal

B, T, D, V, L = 3, 7, 10, 23, 11


def test_embeddings_are_rows_times_their_scale():
    tokens_BT, table_VD = np.random.default_rng(0).integers(0, V, (B, T)), normal(1, V, D)
    embedding = Embedding(V, D, jnp.bfloat16, D**0.5)
    x_BTD = embedding.apply({"params": {"table": table_VD}}, tokens_BT)
    assert x_BTD.dtype == jnp.bfloat16
    assert_close(x_BTD, table_VD[tokens_BT] * np.sqrt(D), 2.0**-8)


def positioned(position, x_BTD, positions_T, params=None):
    return Positions(position).apply({"params": params} if params else {}, x_BTD, positions_T)


def test_positions_are_added_where_the_tokens_stand():
    x_BTD, positions_T, table_LD = normal(0, B, T, D), np.arange(4, 4 + T), normal(1, L, D)
    assert positioned(NoPosition(), x_BTD, positions_T) is x_BTD
    codes = sinusoid(positions_T, D, 100.0)
    assert_close(positioned(Sinusoidal(100.0), x_BTD, positions_T), x_BTD + np.asarray(codes), 1e-6)
    learned = positioned(Learned(L), x_BTD, positions_T, {"position": table_LD})
    assert_close(learned, x_BTD + table_LD[positions_T], 1e-6)


def test_a_sequence_longer_than_its_learned_positions_is_refused():
    with pytest.raises(ValueError, match="must fit the 11 learned positions, got length 13"):
        Positions(Learned(L)).init(jax.random.key(0), normal(0, B, 13, D), np.arange(13))


def test_an_unknown_position_is_refused():
    with pytest.raises(TypeError, match="no rule to add positions of type str"):
        add_position("rotary", None, jnp.zeros((B, T, D)), jnp.arange(T))
