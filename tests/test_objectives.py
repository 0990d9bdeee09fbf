"""Objectives against their definitions, token by token."""

from dataclasses import replace
from itertools import pairwise

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxformer.config.classify import First, Mean
from jaxformer.config.encoders import bert
from jaxformer.data.labelled import LabelledBatch
from jaxformer.data.masking import MaskedBatch
from jaxformer.models.classifier import Classifier
from jaxformer.models.encoder import Encoder
from jaxformer.nn.dropout import Dropout
from jaxformer.objectives import classification, masked, translation
from jaxformer.ops.losses import cross_entropy
from tests.laws.cases import Pairs
from tests.parity.compare import assert_close, normal, random_like

B, T, S, V, D, PAD = 3, 7, 5, 23, 11, 2
SMOOTHING, Z_WEIGHT = 0.1, 0.03


class Bag(nn.Module):
    """The smallest model with the contract: the sum of the source plus the last target token."""

    pad: int = PAD

    @nn.compact
    def features(self, source_BS, target_BT):
        table_VD = self.param("table", nn.initializers.normal(1.0), (V, D))
        x_BTD = table_VD[target_BT] + table_VD[source_BS].sum(1, keepdims=True)
        return Dropout(0.5)(x_BTD), table_VD, None


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


M = 4
ENCODER = Encoder(bert(8, 1, 2, context=T), V, PAD)


def weights_of(model):
    return random_like(nn.unbox(jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 2), np.int32))), 3)


WEIGHTS = weights_of(ENCODER)


def hidden(spoiled=False):
    """Rows with padding, of which some places are to be guessed; `spoiled` are the places that only fill up."""
    rng = np.random.default_rng(2)
    tokens_BT = np.where(np.arange(T) < np.array([T, 5, 3])[:, None], rng.integers(3, V, (B, T)), PAD)
    places_BM, labels_BM = rng.integers(0, 3, (B, M)), rng.integers(0, V, (B, M))
    counted_BM = np.array([[1, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    if spoiled:
        places_BM, labels_BM = (np.where(counted_BM, each, 2 - each % 2) for each in (places_BM, labels_BM))
    return MaskedBatch(*(each.astype(np.int32) for each in (tokens_BT, places_BM, labels_BM)), counted_BM)


def test_hidden_tokens_cost_what_the_logits_at_their_places_say():
    batch = hidden()
    total = jax.jit(masked(ENCODER, Z_WEIGHT))(WEIGHTS, batch, None)
    logits_BTV = ENCODER.apply(WEIGHTS, batch.inputs_BT)
    logits_BMV = np.take_along_axis(np.asarray(logits_BTV), batch.places_BM[..., None], axis=1)
    costs = cross_entropy(logits_BMV, batch.labels_BM, z_weight=Z_WEIGHT)
    assert_close(total.costs, jax.tree.map(lambda cost: (cost * batch.counted_BM).sum(), costs), 1e-5)
    assert total.tokens == 4


def test_places_that_only_fill_up_have_no_influence():
    gradient = jax.jit(jax.value_and_grad(lambda params, batch: masked(ENCODER)(params, batch, None).costs.loss))
    (one, by_one), (other, by_other) = (gradient(WEIGHTS, hidden(spoiled)) for spoiled in (False, True))
    assert any(not np.array_equal(*pair) for pair in zip(hidden(), hidden(True), strict=True))
    assert one == other
    jax.tree.map(np.testing.assert_array_equal, by_one, by_other)
    assert np.any(by_one["params"]["head"]["output_bias"])


def labelled(filler=PAD):
    """Pairs of sentences of three classes, and two rows that only fill up."""
    rng = np.random.default_rng(4)
    inside_BT = np.arange(T) < np.array([T, 5, 3, 0, 0])[:, None]
    tokens_BT = np.where(inside_BT, rng.integers(3, V, inside_BT.shape), PAD)
    tokens_BT[3:] = filler
    each = tokens_BT, inside_BT & (np.arange(T) >= 3), np.array([2, 0, 1, -1, -1])
    return LabelledBatch(*(part.astype(np.int32) for part in each))


@pytest.mark.parametrize("pooling", [First(), Mean()], ids=repr)
def test_classes_cost_what_the_logits_say_and_rows_that_fill_up_nothing(pooling):
    model = Classifier(bert(8, 1, 2, context=T), V, 3, pooling, PAD)

    def loss(params, batch):
        total = classification(model)(params, batch, None)
        return total.costs.loss, total

    gradient, weights, batch = jax.jit(jax.value_and_grad(loss, has_aux=True)), weights_of(model), labelled()
    (_, total), plain = gradient(weights, batch)
    logits_BC = jax.jit(model.apply)(weights, batch.tokens_BT, batch.types_BT)
    costs = cross_entropy(logits_BC[:3], batch.labels_B[:3])
    assert_close(total.costs, jax.tree.map(np.sum, costs), 1e-5)
    assert total.tokens == 3
    (_, same), filled = gradient(weights, labelled(filler=7))
    assert_close((same, filled), (total, plain), 1e-6)
    assert np.any(plain["params"]["encoder"]["segments"][1])


def divergence(*logits):
    """The mean of both Kullback-Leibler divergences, over the last axis."""
    p, q = (np.exp(each) / np.exp(each).sum(-1, keepdims=True) for each in logits)
    return 0.5 * ((p * np.log(p / q)).sum(-1) + (q * np.log(q / p)).sum(-1))


def test_classes_of_two_readings_cost_their_mean_and_what_they_disagree_by():
    model, key = Classifier(replace(bert(8, 1, 2, context=T), dropout=0.5), V, 3, pad=PAD), jax.random.key(3)
    weights, batch = weights_of(model), labelled()
    twice = LabelledBatch(*(np.repeat(each, 2, axis=0) for each in batch))
    logits_R3 = jax.jit(model.apply)(weights, twice.tokens_BT, twice.types_BT, rngs={"dropout": key})
    divergence_B = divergence(*np.asarray(logits_R3, float).reshape(-1, 2, 3).swapaxes(0, 1))[:3]
    plain = jax.jit(classification(model))(weights, twice, key)
    total = jax.jit(classification(model, consistency=3.0))(weights, batch, key)
    assert divergence_B.min() > 0.001
    assert_close(total.costs.loss, plain.costs.loss / 2 + 1.5 * divergence_B.sum(), 1e-5)
    assert_close((total.costs.nll, total.costs.correct), (plain.costs.nll / 2, plain.costs.correct / 2), 1e-5)
    assert total.tokens == 3
    unread, alone = (classification(model, consistency=c)(weights, batch, None) for c in (3.0, 0.0))
    jax.tree.map(np.testing.assert_array_equal, unread, alone)


def test_predictions_of_two_readings_cost_their_mean_and_what_they_disagree_by():
    key = jax.random.key(3)
    twice = Pairs(*(np.repeat(each, 2, axis=0) for each in batch()))
    x_RTD = np.asarray(
        Bag().apply(PARAMS, twice.source_BS, twice.target_BT[:, :-1], method="features", rngs={"dropout": key})[0]
    )
    logits_B2TV = (x_RTD.astype(float) @ PARAMS["params"]["table"].astype(float).T).reshape(B, 2, T, V)
    divergence_BT = divergence(*logits_B2TV.swapaxes(0, 1))
    counted_BT = batch().target_BT[:, 1:] != PAD
    plain = jax.jit(translation(Bag(), SMOOTHING, Z_WEIGHT))(PARAMS, twice, key)
    total = jax.jit(translation(Bag(), SMOOTHING, Z_WEIGHT, consistency=3.0))(PARAMS, batch(), key)
    assert divergence_BT[counted_BT].min() > 0.01
    assert_close(total.costs.loss, plain.costs.loss / 2 + 1.5 * divergence_BT[counted_BT].sum(), 1e-5)
    assert_close((total.costs.nll, total.costs.correct), (plain.costs.nll / 2, plain.costs.correct / 2), 1e-5)
    assert total.tokens == counted_BT.sum()


class Witness:
    """A model that tells how many rows it reads."""

    pad = PAD

    def __init__(self):
        self.rows = []

    def apply(self, params, source_BS, target_BT, **how):
        self.rows.append(source_BS.shape[0])
        return Bag().apply(params, source_BS, target_BT, **how)


def test_rows_are_read_twice_only_where_dropout_makes_a_difference():
    model = Witness()
    one, two = (translation(model, SMOOTHING, consistency=c)(PARAMS, batch(), None) for c in (0.0, 3.0))
    jax.tree.map(np.testing.assert_array_equal, one, two)
    for c in (0.0, 3.0):
        translation(model, SMOOTHING, consistency=c)(PARAMS, batch(), jax.random.key(0))
    assert model.rows == [B, B, B, 2 * B]
