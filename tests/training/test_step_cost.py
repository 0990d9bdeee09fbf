"""What a training step costs: parameters and memory by their count, and every run in every round."""

from typing import NamedTuple

import jax
import numpy as np
import pytest

from jaxformer.config.training import Adam, OptimizationConfig
from jaxformer.objectives import Total
from jaxformer.ops.losses import TokenLoss
from jaxformer.training import step_cost
from jaxformer.training.step_cost import StepCost, step_costs
from jaxformer.training.study import Arm, StudyConfig

B, D = 5, 3
CONFIG = StudyConfig(seeds=(3, 0, 1, 2, 4), steps=2, look_every=1, batch=B, optimization=OptimizationConfig(Adam()))


class Batch(NamedTuple):
    x_BD: np.ndarray


def arm(width):
    def objective(params, batch, key):
        cost = jax.numpy.sum(jax.numpy.square(batch.x_BD @ params["w"]))
        return Total(TokenLoss(cost, cost, cost), jax.numpy.float32(B))

    def batches(seed):
        assert seed == 3, "only the first seed is measured"
        return iter([Batch(np.ones((B, D), np.float32))])

    return Arm(lambda key: {"w": jax.random.normal(key, (D, width))}, objective, batches, None, None)


def test_parameters_and_memory_are_at_least_what_must_be_there():
    small, large = (
        StepCost(*numbers) for numbers in step_costs({"s": (CONFIG, arm(7)), "l": (CONFIG, arm(700))}).values()
    )
    assert (small.parameters, large.parameters) == (D * 7 / 1e3, D * 700 / 1e3)
    for cost in (small, large):
        assert 0 < cost.low <= cost.median <= cost.high
        assert (
            cost.memory * 2**20 > 3 * 4 * 1e3 * cost.parameters + 4 * B * D
        )  # Weights, Adam's two averages, the batch.
    # The state is donated: it counts once.
    assert large.memory * 2**20 < 2 * 3 * 4 * 1e3 * large.parameters + 4 * B * 700 * 4


def test_every_run_takes_its_turn_in_every_round_and_each_goes_first(monkeypatch):
    taken = []

    class Told:
        memory = parameters = 1

        def __init__(self, config, arm):
            self.name = arm

        def timed(self):
            taken.append(self.name)
            return 0.001 * len(taken)

    monkeypatch.setattr(step_cost, "_Compiled", Told)
    cost = step_costs({name: (CONFIG, name) for name in "abc"}, rounds=4)
    assert "".join(taken) == "abc" + "bca" + "cab" + "abc"
    assert StepCost(*cost["a"]).median == pytest.approx((6 + 8) / 2)
