"""Experts kept equally busy without a loss: after each step the bias of one with too little to do grows."""

from collections.abc import Mapping
from typing import Any

from jax import Array

from jaxformer.config.blocks import Block
from jaxformer.config.experts import MixtureOfExperts, SigmoidRouter
from jaxformer.config.model import DecoderConfig
from jaxformer.ops.routing import bias_update

BIAS = "router_balance"
"""The parameter that is no weight: no gradient reaches it, and no optimizer moves it."""


def bias_rates(config: DecoderConfig) -> dict[str, float]:
    """How fast the biases of each mixture of experts move that has any, by the path of its parameters."""
    blocks = {
        f"layers/rows_{i}/blocks_{j}": block
        for i, group in enumerate(config.groups)
        for j, block in enumerate(group.blocks)
    }
    blocks |= {f"further_{k}/block": config.groups[-1].blocks[-1] for k in range(config.further)}
    return {f"{path}/feed_forward": rate for path, block in blocks.items() if (rate := _rate(block))}


def balanced(params: Any, loads: Mapping[str, Array], rates: Mapping[str, float]) -> Any:
    """The parameters with every bias moved by what its experts had to do in this step."""
    for path, rate in rates.items():
        params = {**params, "params": _moved(params["params"], path.split("/"), loads[path], rate)}
    return params


def _rate(block: Block) -> float:
    mixture = block.feed_forward
    if isinstance(mixture, MixtureOfExperts) and isinstance(mixture.router, SigmoidRouter):
        return mixture.bias_rate
    return 0.0


def _moved(tree: Any, path: list[str], load_E: Array, rate: float) -> Any:
    if not path:
        return {**tree, BIAS: bias_update(tree[BIAS], load_E, rate)}
    return {**tree, path[0]: _moved(tree[path[0]], path[1:], load_E, rate)}
