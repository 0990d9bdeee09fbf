"""The translation objective against its definition, token by token."""

from itertools import pairwise

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxformer.nn.dropout import Dropout
from jaxformer.objectives import translation
from tests.laws.cases import Pairs
from tests.parity.compare import assert_close, normal

B, T, S, V, D, PAD = 3, 7, 5, 23, 11, 2
SMOOTHING, Z_WEIGHT = 0.1, 0.03


class Bag(nn.Module):
    """The smallest model with the contract: the sum of the source plus the last target token."""

    pad: int = PAD

    @nn.compact
    def features(self, source_BS, target_BT):
        table_VD = self.param("table", nn.initializers.normal(1.0), (V, D))
        x_BTD = table_VD[target_BT] + table_VD[source_BS].sum(1, keepdims=True)
        return Dropout(0.5)(x_BTD), table_VD


PARAMS = {"params": {"table": normal(0, V, D)}}


def batch(lengths=(T + 1, 3, 1)):
    """Targets of these lengths; padding is a token in the middle of the vocabulary."""
    rng = np.random.default_rng(1)
    source, target = rng.integers(3, V, (B, S)), rng.integers(3, V, (B, T + 1))
    return Pairs(source, np.where(np.arange(T + 1) < np.array(lengths)[:, None], target, PAD))


@pytest.mark.smoke
def test_every_target_token_is_predicted_from_the_source_and_those_before_it():
    total = jax.jit(translation(Bag(), SMOOTHING, Z_WEIGHT))(PARAMS, batch(), None)
    table, expected = PARAMS["params"]["table"].astype(float), np.zeros(4)
    for source, target in zip(*batch(), strict=True):
        for read, label in pairwise(target):
            if label != PAD:
                logits = table @ (table[read] + table[source].sum(0))
                log_total = np.log(np.exp(logits - logits.max()).sum()) + logits.max()
                nll = log_total - logits[label]
                smoothed = (1 - SMOOTHING) * nll + SMOOTHING * (log_total - logits.mean())
                expected += smoothed + Z_WEIGHT * log_total**2, nll, label == logits.argmax(), 1
    assert_close((*total.costs, total.tokens), tuple(expected), 1e-5)
    assert total.tokens == T + 2


def test_totals_of_parts_add_up_to_the_total():
    total = jax.jit(translation(Bag(), SMOOTHING))
    parts = [total(PARAMS, Pairs(*(part[rows] for part in batch())), None) for rows in (slice(0, 1), slice(1, None))]
    assert_close(jax.tree.map(np.add, *parts), total(PARAMS, batch(), None), 1e-5)


def test_a_batch_without_labels_costs_nothing():
    total = translation(Bag(), SMOOTHING, Z_WEIGHT)
    (loss, tokens), gradient = jax.value_and_grad(
        lambda params: (lambda t: (t.costs.loss, t.tokens))(total(params, batch((1, 1, 0)), None)), has_aux=True
    )(PARAMS)
    assert loss == tokens == 0 and not np.any(gradient["params"]["table"])


def test_dropout_is_on_exactly_when_a_key_is_given():
    total = jax.jit(translation(Bag()))
    keys = (None, None, *jax.random.split(jax.random.key(0)))
    losses = [float(total(PARAMS, batch(), key).costs.loss) for key in keys]
    assert losses[0] == losses[1] and len(set(losses)) == 3
