"""What a model is trained for: parameters, a batch and a key → the summed loss and what it was summed over."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxformer.ops.losses import TokenLoss, linear_cross_entropy


class Total(NamedTuple):
    """Sums over the tokens of a batch, float32; batches add up, so that any split of a batch gives the same mean."""

    costs: TokenLoss
    tokens: Array
    """Tokens predicted, padding not counted."""


Objective = Callable[[Any, Any, Array | None], Total]
"""(params, batch, dropout key or None) → sums; dropout is on exactly when a key is given."""


def translation(model: nn.Module, smoothing: float = 0.0, z_weight: float = 0.0) -> Objective:
    """Teacher forcing: every target token from the source and the target tokens before it.

    A batch has source_BS and target_BT int32, the target with begin and end marks; padding costs nothing. The model has
    an attribute `pad` and a method `features`. Source: Sutskever et al. 2014, eq. 2; smoothing and z-loss as in
    `ops.losses`.
    """

    def total(params: Any, batch: Any, key: Array | None) -> Total:
        inputs_BT, labels_BT = batch.target_BT[:, :-1], batch.target_BT[:, 1:]
        rngs = None if key is None else {"dropout": key}
        x_BTD, w_VD = model.apply(params, batch.source_BS, inputs_BT, method="features", rngs=rngs)
        labels_N = labels_BT.reshape(-1)
        counted_N = labels_N != model.pad  # pyright: ignore[reportAttributeAccessIssue]
        costs: Any = linear_cross_entropy(
            x_BTD.reshape(-1, x_BTD.shape[-1]), w_VD, labels_N, counted_N, smoothing, z_weight
        )
        return Total(costs, jnp.sum(counted_N, dtype=jnp.float32))

    return total
