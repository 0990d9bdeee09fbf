"""How the loss of a language model falls with its parameters and the tokens that it has read: a law, fitted."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class ScalingLaw(NamedTuple):
    """loss = floor + of_parameters · (N / N₀)^-alpha + of_tokens · (D / D₀)^-beta, in nats.

    Source: Hoffmann et al. 2022, eq. 2, whose A is of_parameters · N₀^alpha, and whose B of_tokens · D₀^beta.
    N counts parameters without embeddings, D tokens. N₀ and D₀ are the middle of what was fitted, so that the two
    factors are nats that can be gained there.
    """

    floor: float
    of_parameters: float
    alpha: float
    of_tokens: float
    beta: float
    middle: tuple[float, float]
    """N₀ and D₀."""

    def __call__(self, parameters: Any, tokens: Any) -> Any:
        """The loss; arguments are broadcast against each other."""
        by_parameters = (np.asarray(parameters) / self.middle[0]) ** -self.alpha
        by_tokens = (np.asarray(tokens) / self.middle[1]) ** -self.beta
        return self.floor + self.of_parameters * by_parameters + self.of_tokens * by_tokens


def fit_scaling_law(parameters_N: Any, tokens_D: Any, loss_ND: Any) -> ScalingLaw:
    """The law that is nearest to the losses of runs of N sizes after D numbers of tokens each, by Huber's loss of the
    logarithms' differences, as in Hoffmann et al. 2022, §3.3.

    Raises ValueError for fewer than 3 sizes or numbers of tokens, which any exponent fits.
    """
    from scipy.optimize import least_squares

    parameters_N, tokens_D, loss_ND = (np.asarray(x, np.float64) for x in (parameters_N, tokens_D, loss_ND))
    if min(loss_ND.shape) < 3:
        raise ValueError(f"a scaling law needs at least 3 sizes and 3 numbers of tokens, got losses {loss_ND.shape}")
    middle = float(np.exp(np.log(parameters_N).mean())), float(np.exp(np.log(tokens_D).mean()))
    lowest = loss_ND.min()

    def law(free: np.ndarray) -> ScalingLaw:
        return ScalingLaw(*map(float, free), middle=middle)

    def apart(free: np.ndarray) -> np.ndarray:
        return (np.log(law(free)(parameters_N[:, None], tokens_D)) - np.log(loss_ND)).ravel()

    start = [0.5 * lowest, 0.25 * lowest, 0.3, 0.25 * lowest, 0.3]
    bounds = ([0.0, 0.0, 0.01, 0.0, 0.01], [lowest, np.inf, 3.0, np.inf, 3.0])
    return law(least_squares(apart, start, bounds=bounds, loss="huber", f_scale=1e-3, x_scale=start).x)


def resampled_laws(parameters_N: Any, tokens_D: Any, loss_SND: np.ndarray, count: int) -> list[ScalingLaw]:
    """Laws of the mean losses over S seeds drawn anew, with replacement, so many times: the bootstrap (Efron 1979)."""
    rng, seeds = np.random.default_rng(0), len(loss_SND)
    drawn = (loss_SND[rng.integers(seeds, size=seeds)].mean(axis=0) for _ in range(count))
    return [fit_scaling_law(parameters_N, tokens_D, loss_ND) for loss_ND in drawn]


def seed_levels(loss_SND: np.ndarray) -> np.ndarray:
    """How far the losses of each of S seeds lie above the mean over seeds, the mean over sizes: [S, 1, D].

    Where a seed gives all sizes the same text, most of what tells its losses from those of others is this.
    """
    return (loss_SND - loss_SND.mean(axis=0)).mean(axis=1, keepdims=True)


def runs_by(laws: Sequence[ScalingLaw], parameters: float, tokens_D: Any, loss_SND: np.ndarray) -> np.ndarray:
    """What runs of another size may come to, the levels of their seeds taken off, by laws that were resampled from
    these losses, less their levels: [laws, D].

    Each is the loss by a law, and as far from it as a fitted run, drawn at random, is from the mean of its size. How
    far the law is from those means does not count: one that fits badly must not predict the more generously.
    """
    rng, (S, N, _) = np.random.default_rng(1), loss_SND.shape
    # Means and levels are made of the fitted runs, which are nearer to them than a run of another size is.
    nearer = math.sqrt((S - 1) / S * (N - 1) / (N + 1))
    apart_SND = (loss_SND - loss_SND.mean(axis=0)) / nearer
    return np.array([law(parameters, tokens_D) + apart_SND[rng.integers(S), rng.integers(N)] for law in laws])
