"""What a model knows after each layer: the residual stream, and the tokens that it would already predict.

The functions may be jitted, and mapped over the stacked parameters of several seeds.

    >>> states = jax.jit(partial(hidden_states, model))(params, tokens_BT)["decoder"]  # [L + 1, B, T, D]
    >>> lens = jax.jit(partial(logit_lens, model))(params, tokens_BT)  # [L + 1, B, T, V]
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.models.classifier import Classifier
from jaxformer.models.rnn import Rnn
from jaxformer.nn.recorder import Streams


def hidden_states(model: Any, params: Any, *tokens: Any) -> dict[str, Any]:
    """The residual stream [L + 1, B, T, D] of the "encoder", the "decoder", or both: the embeddings with their
    positions, then the stream after each layer, before the final norm.

    `tokens` are what the model is called with, int32. A recurrent network has the outputs of each layer, [L, B, T, H].
    In the model's dtype, and by the backend that it is trained by.
    """
    recorder = Streams() if isinstance(model, Rnn) else Streams(model.config.layers.attention)
    found: Any = model.recording(recorder).apply(params, *tokens, method="recorded")
    return {kind: kept.stream for kind, kept in found.items()}


def logit_lens(model: Any, params: Any, *tokens: Any) -> Array:
    """Logits float32 [L + 1, B, T, V] of the residual stream before the first layer and after each, passed through the
    final norm and the output projection as only the last one is; the last are the model's own.

    Of an encoder-decoder it is the decoder's stream. Raises ValueError for a model whose stream gives no logits.
    Source: nostalgebraist 2020, "interpreting GPT: the logit lens".
    """
    return through_lens(lambda logits_BTV: logits_BTV, model, params, *tokens)


class Prediction(NamedTuple):
    """How well each layer predicts given tokens."""

    log_probability: Array
    """In nats, float32 [L + 1, B, T]."""
    rank: Array
    """Tokens that are likelier, int32 [L + 1, B, T]; 0 for the likeliest."""


def lens_of(labels_BT: Array, model: Any, params: Any, *tokens: Any) -> Prediction:
    """`logit_lens` of given tokens alone, int32 [B, T], one for each place: no more than one layer's logits exist."""

    def of_layer(logits_BTV: Array) -> Prediction:
        chosen_BT1 = jnp.take_along_axis(logits_BTV, labels_BT[..., None], axis=-1)
        log_p_BT = chosen_BT1[..., 0] - jax.nn.logsumexp(logits_BTV, axis=-1)
        return Prediction(log_p_BT, jnp.sum(logits_BTV > chosen_BT1, axis=-1, dtype=jnp.int32))

    return through_lens(of_layer, model, params, *tokens)


def through_lens(of_layer: Callable[[Array], Any], model: Any, params: Any, *tokens: Any) -> Any:
    """What a function makes of each layer's logits [B, T, V], one layer after the other, stacked on a first axis."""
    if isinstance(model, Rnn | Classifier) or getattr(model.config, "masked_head", True) is False:
        raise ValueError(f"a logit lens needs a residual stream with an output over tokens, got {_said(model)}")
    states = hidden_states(model, params, *tokens)
    x_LBTD = states.get("decoder", states.get("encoder"))
    return jax.lax.map(lambda x_BTD: of_layer(model.apply(params, x_BTD, method="unembed")), x_LBTD)


def _said(model: Any) -> str:
    headless = " without a head for masked tokens" if hasattr(model.config, "masked_head") else ""
    return type(model).__name__ + headless
