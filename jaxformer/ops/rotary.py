"""Rotary positions: pairs of a head's features turn by angles proportional to the position, the first pair fastest.

Letters: H width of a head, R ≤ H width of the part that turns, P = R/2 its pairs.
"""

import math
from functools import singledispatch
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxformer.config.positions import Linear, Llama3, Ntk, Rotary, Yarn


def rotary_frequencies(config: Rotary, width: int) -> tuple[np.ndarray, float]:
    """How far each pair turns from one position to the next, in radians, and what cos and sin are multiplied by.

    `width` is that of a head, H; the frequencies are float32 [P], of the part that turns alone. They are computed in
    float64 before the program is traced, for an error in them grows with the position. Raises ValueError where that
    part is odd or empty. Source: Su et al. 2021, §3.2.2; the scalings name their own.
    """
    frequencies_P, magnitude = _scaled(config.scaling, config.base, config.rotated_width(width))
    return frequencies_P.astype(np.float32), magnitude


def rotation(positions: Array, frequencies_P: np.ndarray, magnitude: float = 1.0) -> tuple[Array, Array]:
    """cos and sin, float32 [..., P], of the angles at integer positions of any shape, times `magnitude`."""
    angles = positions[..., None].astype(jnp.float32) * frequencies_P
    return jnp.cos(angles) * magnitude, jnp.sin(angles) * magnitude


def rotate(x_H: Array, cos_P: Array, sin_P: Array, interleaved: bool = False) -> Array:
    """One query or key turned at its position: pair (a, b) becomes (a cos - b sin, a sin + b cos).

    The pairs are neighbours where `interleaved`, else i with i + P; what lies past the first 2P features stays as it
    is. Computed in float32, which cos and sin bring, in x's dtype. Leading axes broadcast: heads x [T, N, H] take cos
    [T, 1, P]. Source: Su et al. 2021, eq. 34.
    """
    P = cos_P.shape[-1]
    pairs, axis = ((P, 2), -1) if interleaved else ((2, P), -2)
    turning, still = jnp.split(x_H, [2 * P], axis=-1)
    a_P, b_P = jnp.moveaxis(turning.reshape(*x_H.shape[:-1], *pairs), axis, 0)
    turned = jnp.stack([a_P * cos_P - b_P * sin_P, a_P * sin_P + b_P * cos_P], axis=axis)
    return jnp.concatenate([turned.reshape(turning.shape).astype(x_H.dtype), still], axis=-1)


def yarn_magnitude(factor: float, weight: float = 1.0) -> float:
    """0.1 · weight · ln(factor) + 1: how much larger queries and keys become when the context grows by `factor`.

    DeepSeek multiplies the scores by the square of this instead, with `mscale_all_dim` for weight. Source: Peng et al.
    2023, §3.4.
    """
    return 0.1 * weight * math.log(factor) + 1.0


def _inverse_frequencies(base: float, R: int) -> np.ndarray:
    return base ** (-np.arange(0, R, 2) / R)


@singledispatch
def _scaled(scaling: Any, base: float, R: int) -> tuple[np.ndarray, float]:
    """Frequencies float64 [P] and the magnitude. A new scaling is a new config class registered here."""
    raise TypeError(f"no rule to scale rotary positions by {type(scaling).__name__}")


@_scaled.register
def _(scaling: None, base: float, R: int) -> tuple[np.ndarray, float]:
    return _inverse_frequencies(base, R), 1.0


@_scaled.register
def _(scaling: Linear, base: float, R: int) -> tuple[np.ndarray, float]:
    """Source: Chen et al. 2023, eq. 4."""
    return _inverse_frequencies(base, R) / scaling.factor, 1.0


@_scaled.register
def _(scaling: Ntk, base: float, R: int) -> tuple[np.ndarray, float]:
    """Source: bloc97 2023, "NTK-aware scaled RoPE"; Peng et al. 2023, §3.1."""
    if R < 4:
        raise ValueError(f"Ntk needs a rotated part of at least 4, or nothing is slower than the fastest, got {R}")
    return _inverse_frequencies(base * scaling.factor ** (R / (R - 2)), R), 1.0


@_scaled.register
def _(scaling: Llama3, base: float, R: int) -> tuple[np.ndarray, float]:
    """The ramp is linear in the turns over the original context. Source: Grattafiori et al. 2024 and its code."""
    frequencies_P = _inverse_frequencies(base, R)
    turns_P = scaling.original_length * frequencies_P / (2 * math.pi)
    fast_P = np.clip((turns_P - scaling.low) / (scaling.high - scaling.low), 0.0, 1.0)
    return _slowed(frequencies_P, scaling.factor, fast_P), 1.0


@_scaled.register
def _(scaling: Yarn, base: float, R: int) -> tuple[np.ndarray, float]:
    """The ramp is linear in the index of the pair, as in the authors' code. Source: Peng et al. 2023, §3.2 and §3.4."""
    first, last = _yarn_ramp(scaling, base, R)
    fast_P = 1 - np.clip((np.arange(R // 2) - first) / (last - first), 0.0, 1.0)
    return _slowed(_inverse_frequencies(base, R), scaling.factor, fast_P), _yarn_attention_factor(scaling)


def _slowed(frequencies_P: np.ndarray, factor: float, fast_P: np.ndarray) -> np.ndarray:
    """As before where `fast` is 1, divided by the factor where it is 0."""
    return fast_P * frequencies_P + (1 - fast_P) * frequencies_P / factor


def _yarn_ramp(scaling: Yarn, base: float, R: int) -> tuple[float, float]:
    """The pair at which the slowing begins, and the one from which it is complete."""

    def pair(turns: float) -> float:
        """Which pair turns so many times over the original context."""
        return R * math.log(scaling.original_length / (turns * 2 * math.pi)) / (2 * math.log(base))

    first, last = pair(scaling.beta_fast), pair(scaling.beta_slow)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    # R - 1 and not P - 1, as in the authors' code: checkpoints were trained with it.
    first, last = max(first, 0), min(last, R - 1)
    # A ramp without length is a step.
    return first, last if first != last else last + 0.001


def _yarn_attention_factor(scaling: Yarn) -> float:
    if scaling.attention_factor is not None:
        return scaling.attention_factor
    if scaling.mscale is not None and scaling.mscale_all_dim is not None:
        return yarn_magnitude(scaling.factor, scaling.mscale) / yarn_magnitude(scaling.factor, scaling.mscale_all_dim)
    return yarn_magnitude(scaling.factor)
