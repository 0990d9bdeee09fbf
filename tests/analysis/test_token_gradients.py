"""The gradient by token is that of the embeddings' table where every token stands in one place only."""

from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.analysis.token_gradients import embedding_gradients, gradient_by_token
from jaxformer.config.blocks import Group
from jaxformer.config.presets import preset
from jaxformer.models.decoder import Decoder
from jaxformer.models.encoder import Encoder
from tests.laws.cases import POST_NORM, RNN, RNN_ATTENTION, V, case
from tests.parity.compare import assert_close, normal, random_like

PLACES = np.random.default_rng(0).permutation(np.arange(1, V))
SOURCE_BS, TARGET_BT = PLACES[:14].reshape(2, 7), PLACES[14:].reshape(2, 4)
LOCAL = preset("gemma3-tiny").groups[0].blocks
GEMMA = Decoder(replace(preset("gemma3-tiny"), width=14, groups=(Group(LOCAL, 2),)), V)
BERT = Encoder(replace(preset("bert-tiny"), width=14), V)


def alone(model):
    shapes = jax.eval_shape(model.init, jax.random.key(0), SOURCE_BS)
    return model, random_like(nn.meta.unbox(shapes), seed=1), (SOURCE_BS,)


def seq2seq(config):
    return case(config).model, case(config).params, (SOURCE_BS, TARGET_BT)


MODELS = {
    "gemma": (partial(alone, GEMMA), "features", 128**0.5),
    "bert": (partial(alone, BERT), "encode", 1.0),
    "post-norm": (partial(seq2seq, POST_NORM), "features", 14**0.5),
    "rnn": (partial(seq2seq, RNN), "features", 7**0.5),
    "rnn with attention": (partial(seq2seq, RNN_ATTENTION), "features", 7**0.5),
}


SLOW = ("bert", "post-norm", "rnn")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in MODELS]
)
def test_it_is_the_gradient_of_the_table(name):
    made, method, scale = MODELS[name]
    model, params, inputs = made()

    def measure(params):
        """Of the last vectors, before the product with the table where that is the output as well."""
        x_BTD = jax.tree.leaves(model.apply(params, *inputs, method=method))[0]
        return x_BTD[:, -1] @ normal(2, x_BTD.shape[-1])

    @jax.jit
    def seen(params):
        whole = jax.grad(lambda params: jnp.sum(measure(params)))(params)["params"]["embedding"]["table"]
        return embedding_gradients(measure, params), gradient_by_token(measure, params), whole

    found, norms, table_VD = seen(params)
    expected = tuple(np.asarray(table_VD)[tokens] / scale for tokens in inputs)
    assert_close(found, expected, 1e-4)
    assert_close(norms, tuple(np.linalg.norm(g, axis=-1) for g in expected), 1e-4)


@pytest.mark.slow
def test_finite_differences_agree():
    model, params, inputs = alone(GEMMA)
    measure = lambda params: model.apply(params, *inputs)[:, -1, 5]  # noqa: E731
    (found,) = jax.jit(partial(embedding_gradients, measure))(params)
    direction, step = normal(3, 14), 1e-2

    @jax.jit
    def moved(amount):
        """With the vector in the second place of the first row moved, and the output projection left where it is."""
        table_VD = params["params"]["embedding"]["table"]
        at = table_VD.at[SOURCE_BS[0, 1]].add(amount * direction / 128**0.5) if amount is not None else table_VD
        x_BTD = model.apply(
            {"params": {**params["params"], "embedding": {"table": at}}}, *inputs, method="features"
        ).x_BTD
        return jnp.sum(x_BTD[:, -1] @ table_VD[5])

    params = jax.tree.map(jnp.asarray, params)
    slope = (moved(step) - moved(-step)) / (2 * step)
    np.testing.assert_allclose(found[0, 1] @ direction, slope, rtol=2e-2)


@pytest.mark.slow
def test_several_seeds_are_mapped_over():
    model, params, inputs = alone(GEMMA)
    by_token = partial(gradient_by_token, lambda params: model.apply(params, *inputs)[:, -1, 5])
    stacked = jax.tree.map(lambda leaf: np.stack([leaf, leaf[..., ::-1]]), params)
    (together,) = jax.jit(jax.vmap(by_token))(stacked)
    (first,) = jax.jit(by_token)(params)
    assert together.shape == (2, 2, 7)
    assert_close(together[0], first, 1e-5)


def test_a_measure_that_hides_its_embeddings_is_refused():
    model, params, inputs = alone(GEMMA)
    hidden = jax.jit(lambda params: model.apply(params, *inputs)[:, -1, 5])
    for measure in (hidden, hidden, lambda params: params["params"]["embedding"]["table"]):
        with pytest.raises(ValueError, match="must embed tokens and not be jitted itself"):
            gradient_by_token(measure, params)
