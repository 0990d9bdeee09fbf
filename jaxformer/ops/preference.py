"""Which of two answers is better, told by how likely they are (Rafailov et al. 2023)."""

import jax
from jax import Array


def margin(log_p_2: Array, reference_2: Array) -> Array:
    """How much more a model prefers the first of two answers than the reference does: the difference of their rewards
    over β.

    Both [..., 2] are log-probabilities of [chosen, rejected]. Source: Rafailov et al. 2023, eq. 5.
    """
    gain_2 = log_p_2 - reference_2
    return gain_2[..., 0] - gain_2[..., 1]


def preference_loss(margin: Array, beta: float, smoothing: float = 0.0) -> Array:
    """-log σ(β margin), the cost of what was chosen under the model of Bradley & Terry (Rafailov et al. 2023, eq. 7).

    With `smoothing` the choice is taken to be wrong with that probability (Mitchell 2023, conservative DPO), and a
    margin costs again once it is larger than that allows.
    """
    right, wrong = jax.nn.log_sigmoid(beta * margin), jax.nn.log_sigmoid(-beta * margin)
    return -(1 - smoothing) * right - smoothing * wrong
