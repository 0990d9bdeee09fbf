"""What a trained encoder-decoder reads while it translates one sentence."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def attention_maps(model: Any, params: Any, source: Sequence[int], target: Sequence[int]) -> dict[str, np.ndarray]:
    """Attention weights float32 [layers, heads, query, key] of one sentence pair, by kind.

    A Transformer has "encoder" [L, N, S, S], "decoder" [L, N, T, T] and "cross" [L, N, T, S]; a recurrent network has
    "cross" [1, 1, T, S] where it has attention, and nothing where not. Each row sums to one. `target` begins with the
    begin mark, and row t is what the model read to predict the token after target[t]. Padding at the end of either
    sentence is cut off.
    """
    source, target = _true_part(source, model.pad), _true_part(target, model.pad)

    @jax.jit
    def maps(params: Any, source_BS: jax.Array, target_BT: jax.Array) -> dict[str, jax.Array]:
        return model.recording().apply(params, source_BS, target_BT, method="attention_maps")

    found = maps(params, jnp.asarray([source], jnp.int32), jnp.asarray([target], jnp.int32))
    return {kind: np.asarray(weights_LBNTS[:, 0]) for kind, weights_LBNTS in found.items()}


def _true_part(tokens: Sequence[int], pad: int) -> list[int]:
    """The tokens up to the last that is no padding."""
    kept = np.trim_zeros(np.asarray(tokens) - pad, "b")
    if not kept.size:
        raise ValueError("a sentence must have at least one token besides padding, got none")
    return [int(token) for token in kept + pad]
