"""Rotary positions against complex numbers in float64 and against transformers, and the laws that they are made for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.config.positions import Linear, Llama3, Ntk, Rotary, Yarn
from jaxformer.ops.rotary import rotary_frequencies, rotate, rotation, yarn_magnitude
from tests.parity.compare import assert_all_close, assert_close, normal

B, T, N, H = 2, 5, 3, 14
WIDTH = 2 * 61
"""Of a head with pairs at both ends of every ramp."""

SCALINGS = [
    None,
    Linear(7.0),
    Llama3(8.0),
    Llama3(32.0, 1.5, 7.0, 1234),
    Yarn(4.0, 4096),
    Yarn(40.0, 4096, mscale=1.0, mscale_all_dim=1.0),
    Yarn(40.0, 4096, mscale=0.7, mscale_all_dim=1.3),
    Yarn(16.0, 2048, 64.0, 2.0, attention_factor=1.7),
    Yarn(32.0, 4096, truncate=False),
    *(Yarn(2.0, length) for length in (1, 6, 7, 23, 211, 10**5)),
    Yarn(2.0, 10**9, beta_fast=1e5),
]


def theirs(scaling):
    """The scaling in the words of a config.json."""
    match scaling:
        case None:
            return {"rope_type": "linear", "factor": 1.0}
        case Linear(factor):
            return {"rope_type": "linear", "factor": factor}
        case Llama3(factor, low, high, length):
            names = {"low_freq_factor": low, "high_freq_factor": high, "original_max_position_embeddings": length}
            return {"rope_type": "llama3", "factor": factor, **names}
        case Yarn():
            names = {name: getattr(scaling, name) for name in ("factor", "beta_fast", "beta_slow", "truncate")}
            names |= {name: getattr(scaling, name) for name in ("attention_factor", "mscale", "mscale_all_dim")}
            return {"rope_type": "yarn", "original_max_position_embeddings": scaling.original_length, **names}


def their_frequencies(width, base, fraction, parameters, length=None):
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    parameters = {**parameters, "rope_theta": base, "partial_rotary_factor": fraction}
    config = LlamaConfig(head_dim=width, max_position_embeddings=4096, rope_parameters=parameters)
    return ROPE_INIT_FUNCTIONS[parameters["rope_type"]](config, "cpu", seq_len=length)


@pytest.mark.parametrize("scaling", SCALINGS, ids=str)
@pytest.mark.parametrize(("base", "fraction"), [(10_000.0, 1.0), (500_000.0, 0.4)])
def test_frequencies_are_those_of_transformers(torch, transformers, scaling, base, fraction):
    """Theirs are computed in float32, with a few rounding errors of the exponent."""
    expected, magnitude = their_frequencies(WIDTH, base, fraction, theirs(scaling))
    frequencies_P, own_magnitude = rotary_frequencies(Rotary(base, fraction, scaling), WIDTH)
    assert frequencies_P.dtype == np.float32
    np.testing.assert_allclose(frequencies_P, expected, rtol=3e-6)
    assert own_magnitude == pytest.approx(magnitude, rel=1e-12)


def test_ntk_is_what_transformers_reaches_at_a_length(torch, transformers):
    """Their factor grows with the length of the sequence: at 3 times the trained length it is ours of 3."""
    expected, _ = their_frequencies(WIDTH, 10_000.0, 1.0, {"rope_type": "dynamic", "factor": 1.0}, length=3 * 4096)
    np.testing.assert_allclose(rotary_frequencies(Rotary(scaling=Ntk(3.0)), WIDTH)[0], expected, rtol=3e-6)


def test_without_scaling_they_are_the_powers_of_the_base():
    expected = [100.0 ** (-2 * i / H) for i in range(H // 2)]
    np.testing.assert_allclose(rotary_frequencies(Rotary(base=100.0), H)[0], expected, rtol=1e-7)


@pytest.mark.parametrize("scaling", [Ntk(5.0), Llama3(5.0), Yarn(5.0, 4096)])
def test_the_fastest_pair_keeps_its_speed_and_the_slowest_loses_the_factor(scaling):
    plain_P, _ = rotary_frequencies(Rotary(base=500_000.0), WIDTH)
    scaled_P, _ = rotary_frequencies(Rotary(base=500_000.0, scaling=scaling), WIDTH)
    np.testing.assert_allclose(plain_P[[0, -1]] / scaled_P[[0, -1]], [1.0, 5.0], rtol=1e-6)
    assert (np.diff(plain_P / scaled_P) >= -1e-6).all()


@pytest.mark.parametrize("scaling", [Linear(1.0), Ntk(1.0), Llama3(1.0), Yarn(1.0, 4096)])
def test_a_factor_of_one_changes_nothing(scaling):
    plain_P, magnitude = rotary_frequencies(Rotary(), WIDTH)
    scaled_P, same = rotary_frequencies(Rotary(scaling=scaling), WIDTH)
    np.testing.assert_allclose(scaled_P, plain_P, rtol=1e-7)
    assert magnitude == same == 1.0


def test_ntk_needs_two_pairs():
    with pytest.raises(ValueError, match=r"Ntk needs a rotated part of at least 4, .* got 2"):
        rotary_frequencies(Rotary(scaling=Ntk(2.0)), 2)


def test_the_magnitude_of_yarn_is_published_and_multiplies_both():
    assert yarn_magnitude(np.e) == pytest.approx(1.1) and yarn_magnitude(np.e**2, 0.7) == pytest.approx(1.14)
    positions, (frequencies_P, magnitude) = np.arange(T), rotary_frequencies(Rotary(scaling=Yarn(np.e, 64)), H)
    turned, plain = rotation(positions, frequencies_P, magnitude), rotation(positions, frequencies_P)
    np.testing.assert_allclose(turned, 1.1 * np.asarray(plain), rtol=1e-6)


def turned(x, positions, config):
    """x [..., T, N, H] at positions [..., T]."""
    cos, sin = rotation(positions, *rotary_frequencies(config, x.shape[-1]))
    return rotate(x, cos[..., None, :], sin[..., None, :], config.interleaved)


def turned_as_complex(x, positions, config):
    """The definition: every pair is a complex number, multiplied by e^(i angle), in float64."""
    R = config.rotated_width(x.shape[-1])
    angles = positions[..., None, None] * rotary_frequencies(config, x.shape[-1])[0].astype(np.float64)
    y = x.astype(np.float64)
    first, second = (np.arange(0, R, 2), np.arange(1, R, 2)) if config.interleaved else np.arange(R).reshape(2, -1)
    pairs = (y[..., first] + 1j * y[..., second]) * np.exp(1j * angles)
    y[..., first], y[..., second] = pairs.real, pairs.imag
    return y


CONFIGS = [Rotary(97.0, fraction, interleaved=pairing) for fraction in (1.0, 0.6) for pairing in (False, True)]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_to_rotate_is_to_multiply_by_a_complex_number(config):
    """An angle of 1000 radians in float32 is known to 1000 · 2⁻²⁴."""
    x_BTNH, positions_BT = normal(0, B, T, N, H), np.random.default_rng(1).integers(0, 1000, (B, T))
    assert_close(turned(x_BTNH, positions_BT, config), turned_as_complex(x_BTNH, positions_BT, config), 1000 * 2.0**-24)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_it_is_transformers_with_gradients(torch, transformers, config):
    """GPT-NeoX pairs halves and leaves the rest of a head; GPT-J pairs neighbours."""
    from transformers.models.gpt_neox.modeling_gpt_neox import apply_rotary_pos_emb as neox
    from transformers.models.gptj.modeling_gptj import apply_rotary_pos_emb as gptj

    x_BTNH, weight, positions_T = normal(0, B, T, N, H), normal(2, B, T, N, H), np.arange(T) + 7

    def weighed(x):
        y = turned(x, positions_T, config)
        return (y * weight).sum(), y

    def reference(x, cos_TP, sin_TP):
        if not config.interleaved:
            cos, sin = (torch.cat([half, half], -1)[None] for half in (cos_TP, sin_TP))
            return neox(x, x, cos, sin, unsqueeze_dim=2)[0]
        R = 2 * cos_TP.shape[-1]
        return torch.cat([gptj(x[..., :R], sin_TP[None], cos_TP[None]), x[..., R:]], -1)

    (_, y), gradient = jax.value_and_grad(weighed, has_aux=True)(x_BTNH)
    twin = torch.tensor(x_BTNH, dtype=torch.float64, requires_grad=True)
    angles_TP = torch.tensor(positions_T[:, None] * rotary_frequencies(config, H)[0].astype(np.float64))
    expected = reference(twin, angles_TP.cos(), angles_TP.sin())
    (expected * torch.tensor(weight)).sum().backward()
    assert_all_close((y, gradient), (expected.detach(), twin.grad), 3e-6)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_scores_depend_on_relative_position_alone(config):
    q_TNH, k_TNH, positions_T = normal(0, T, N, H), normal(1, T, N, H), np.array([3, 1, 4, 11, 5])

    def scores(shift):
        q, k = (turned(x, positions_T + shift, config) for x in (q_TNH, k_TNH))
        return np.einsum("tnh,snh->nts", q, k)

    assert_close(scores(89), scores(0), 2e-5)
    assert np.abs(scores(0) - np.einsum("tnh,snh->nts", q_TNH, k_TNH)).max() > 1


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_norms_are_kept_and_position_zero_turns_nothing(config):
    x_TNH = normal(0, T, N, H)
    norms = np.linalg.norm(turned(x_TNH, 1000 * np.arange(T), config), axis=-1)
    np.testing.assert_allclose(norms, np.linalg.norm(x_TNH, axis=-1), rtol=1e-6)
    np.testing.assert_array_equal(turned(x_TNH, np.zeros(T, int), config), x_TNH)


def test_the_two_pairings_are_one_in_another_order():
    x_TNH, order = normal(0, T, N, H), np.arange(H).reshape(2, -1).T.ravel()
    halves, pairs = (turned(x, np.arange(T), Rotary(interleaved=i)) for x, i in [(x_TNH, 0), (x_TNH[..., order], 1)])
    np.testing.assert_array_equal(halves[..., order], pairs)


@pytest.mark.parametrize("interleaved", [False, True])
def test_leading_axes_are_one_head_of_one_token_mapped(interleaved):
    x_TNH = normal(0, T, N, H)
    cos_TP, sin_TP = rotation(np.arange(T), *rotary_frequencies(Rotary(), H))
    heads = jax.vmap(rotate, in_axes=(0, None, None, None))
    mapped = jax.vmap(heads, in_axes=(0, 0, 0, None))(x_TNH, cos_TP, sin_TP, interleaved)
    assert_close(mapped, turned(x_TNH, np.arange(T), Rotary(interleaved=interleaved)), 1e-6)


def test_half_precision_is_computed_in_float32_and_what_does_not_turn_is_the_same_bit_for_bit():
    config, positions_T = Rotary(fraction=0.6), 1000 + np.arange(T)
    x_TNH = jnp.asarray(normal(0, T, N, H), jnp.bfloat16)
    y_TNH = turned(x_TNH, positions_T, config)
    assert y_TNH.dtype == jnp.bfloat16
    whole_TNH = turned(x_TNH.astype(jnp.float32), positions_T, config)
    np.testing.assert_array_equal(y_TNH, whole_TNH.astype(jnp.bfloat16))
    np.testing.assert_array_equal(y_TNH[..., 8:], x_TNH[..., 8:])
