"""The smallest model that looks things up: pairs that are not there, and their order, change nothing for a head."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxformer.config.blocks import MultiHead
from jaxformer.models.lookup import Lookup, RecurrentReader, Shelf
from tests.parity.compare import assert_close, random_like

B, K, Q, N, V, D = 3, 7, 5, 13, 11, 6
HEAD, RECURRENT = MultiHead(2, 2, 4, bias=False), RecurrentReader(width=8)


def shelf(seed=0):
    rng = np.random.default_rng(seed)
    pairs_B = np.array([K, 2, 4])
    keys_BK = np.stack([rng.permutation(N)[:K] for _ in range(B)])
    return Shelf(keys_BK, rng.integers(V, size=(B, K)), pairs_B, rng.integers(pairs_B[:, None], size=(B, Q)))


def applied(reader, *shelves):
    model = Lookup(reader, N, V, D)
    params = random_like(nn.meta.unbox(jax.eval_shape(model.init, jax.random.key(0), shelf())), seed=1, deviation=1.0)
    return [jax.jit(model.apply)(params, one) for one in shelves]


@pytest.mark.parametrize("reader", [HEAD, RECURRENT], ids=["heads", "recurrent"])
def test_pairs_that_are_not_there_change_nothing(reader):
    whole = shelf()
    there_BK = np.arange(K) < whole.pairs_B[:, None]
    other = whole._replace(
        keys_BK=np.where(there_BK, whole.keys_BK, 0), values_BK=np.where(there_BK, whole.values_BK, 0)
    )
    (logits_BQV, weights_BQK), (other_BQV, _) = applied(reader, whole, other)
    assert logits_BQV.shape == (B, Q, V) and weights_BQK.shape == (B, Q, K)
    assert_close(other_BQV, logits_BQV, 1e-6)


def test_a_head_reads_a_distribution_over_the_pairs_that_are_there_whatever_their_order():
    one = shelf()
    order = np.arange(K)
    order[:2] = [1, 0]  # Two pairs are there in every row.
    places = np.argsort(order)
    turned = Shelf(one.keys_BK[:, order], one.values_BK[:, order], one.pairs_B, places[one.asked_BQ])
    (logits_BQV, weights_BQK), (turned_BQV, turned_BQK) = applied(HEAD, one, turned)
    assert_close(turned_BQV, logits_BQV, 1e-5)
    assert_close(turned_BQK, weights_BQK[:, :, order], 1e-5)
    np.testing.assert_allclose(weights_BQK.sum(-1), 1, rtol=1e-5)
    assert not np.any(np.where(np.arange(K) < one.pairs_B[:, None], 0, np.swapaxes(weights_BQK, 0, 1)))


def test_a_recurrent_reader_has_no_map():
    ((_, weights_BQK),) = applied(RECURRENT, shelf())
    assert not weights_BQK.any()
