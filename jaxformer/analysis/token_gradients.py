"""Which tokens a result depends on: its gradient with respect to the embedding of each.

The functions may be jitted, and mapped over the stacked parameters of several seeds.

    >>> answer = lambda params: model.apply(params, tokens_BT)[:, -1, 7]  # a logit of each row
    >>> (norm_BT,) = jax.jit(partial(gradient_by_token, answer))(params)
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.nn.embedding import Embedding

Measure = Callable[[Any], Array]
"""Parameters → a loss, a logit of each row, or whatever a model gives; an array is summed."""


def gradient_by_token(measure: Measure, params: Any) -> tuple[Array, ...]:
    """The length of each token's gradient, float32 [B, T]; arguments and errors as in `embedding_gradients`.

    Rows of a batch do not see each other, so that each row's part of a summed measure has gradients in its row alone.
    """
    return tuple(jnp.linalg.norm(g.astype(jnp.float32), axis=-1) for g in embedding_gradients(measure, params))


def embedding_gradients(measure: Measure, params: Any) -> tuple[Array, ...]:
    """d Σ measure(params) / d x for the vectors x [B, T, D] of all tokens as the model reads them, before positions.

    There is one array for each time that tokens are embedded, in that order: of an encoder-decoder those of the source,
    then those of the target; of a decoder or an encoder one. What else the measure does with the embeddings, such as
    use them as output projection, does not count.

    Raises ValueError for a measure that embeds no tokens, as seen from here: where it is jitted itself, they are hidden
    in a program that was compiled before. Jit this function with it instead.
    """
    shapes: list[Any] = []

    def watch(x_BTD: Array) -> Array:
        shapes.append(jax.ShapeDtypeStruct(x_BTD.shape, x_BTD.dtype))
        return x_BTD

    jax.eval_shape(lambda params: _embedding_by(watch, measure, params), params)

    def moved(pushes: list[Array]) -> Array:
        left = iter(pushes)
        total = jnp.sum(_embedding_by(lambda x_BTD: x_BTD + next(left), measure, params))
        if not pushes or next(left, None) is not None:
            raise ValueError("a measure must embed tokens and not be jitted itself; jit what is called with it")
        return total

    return tuple(jax.grad(moved)([jnp.zeros(shape.shape, shape.dtype) for shape in shapes]))


def _embedding_by(change: Callable[[Array], Array], measure: Measure, params: Any) -> Array:
    """The measure, where every sequence's embeddings are changed."""

    def intercept(method: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        result = method(*args, **kwargs)
        embeds = isinstance(context.module, Embedding) and context.method_name == "__call__"
        return change(result) if embeds else result

    with nn.intercept_methods(intercept):
        return measure(params)
