"""A mixture of experts as a module: the router's and the experts' weights around `ops.routing`."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxformer.config.blocks import Gated
from jaxformer.config.experts import MixtureOfExperts, SigmoidRouter
from jaxformer.nn.ffn import FeedForward
from jaxformer.nn.weight import constant, weight
from jaxformer.ops.activations import ACTIVATIONS
from jaxformer.ops.routing import affinities, experts_ffn, load, load_balance_loss, route, router_z_loss


class Report(NamedTuple):
    """How the tokens were shared out."""

    penalty: Array
    """What is added to the loss for unequal loads and large router logits, weighted, float32."""
    load_E: Array
    """Tokens that each expert was given, int32."""


class Experts(nn.Module):
    """Each token passes through a few experts of its own, and through the shared ones where there are any."""

    config: MixtureOfExperts

    @nn.compact
    def __call__(self, x_BTD: Array, counted_BT: Array | None = None) -> tuple[Array, Report]:
        """What is added to the stream, and the report on the tokens that are flagged in `counted_BT`."""
        c, D = self.config, x_BTD.shape[-1]
        E, F = c.experts, c.hidden
        x_TD = x_BTD.reshape(-1, D)
        w_DE = weight(self, "router", (D, E), ("embed", "experts"))
        bias_E = None
        if isinstance(c.router, SigmoidRouter):
            bias_E = constant(self, "router_balance", 0.0, (E,), ("experts",))
        # In float32, for a choice between near equals must not depend on rounding.
        logits_TE = x_TD.astype(jnp.float32) @ w_DE
        experts_TK, weights_TK = route(logits_TE, c.router, c.active, bias_E)
        axes = ("experts", "embed", "hidden")
        gate_EDF = weight(self, "expert_gate", (E, D, F), axes, each=[0]) if c.gated else None
        up_EDF = weight(self, "expert_up", (E, D, F), axes, each=[0])
        down_EFD = weight(self, "expert_down", (E, F, D), ("experts", "hidden", "embed"), each=[0])
        y_TD = experts_ffn(x_TD, gate_EDF, up_EDF, down_EFD, experts_TK, weights_TK, ACTIVATIONS[c.activation])
        y_BTD = y_TD.reshape(x_BTD.shape)
        if c.shared:
            y_BTD = y_BTD + FeedForward(Gated(c.shared, c.activation), name="shared")(x_BTD)[0]
        counted_T = None if counted_BT is None else counted_BT.reshape(-1)
        return y_BTD, self._report(logits_TE, experts_TK, counted_T)

    def _report(self, logits_TE: Array, experts_TK: Array, counted_T: Array | None) -> Report:
        c = self.config
        penalty = c.balance * load_balance_loss(affinities(logits_TE, c.router), experts_TK, counted_T)
        penalty = penalty + c.z * router_z_loss(logits_TE, counted_T)
        return Report(penalty, load(experts_TK, c.experts, counted_T))
