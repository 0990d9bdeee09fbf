"""Scaling laws: fitted to losses that follow one, it is found again; what cannot be fitted is refused."""

import numpy as np
import pytest

from jaxformer.analysis.scaling import ScalingLaw, fit_scaling_law, resampled_laws, runs_by, seed_levels

SIZES, TOKENS = [13e3, 29e3, 61e3, 127e3], [31e3, 67e3, 113e3, 211e3, 401e3]
A, ALPHA, B, BETA, E = 7.0, 0.31, 90.0, 0.43, 1.3


def hoffmann(parameters, tokens):
    """Eq. 2 as it is written there, without a middle."""
    return E + A / np.asarray(parameters) ** ALPHA + B / np.asarray(tokens) ** BETA


def losses():
    return hoffmann(np.array(SIZES)[:, None], np.array(TOKENS))


def test_the_law_behind_the_losses_is_found_and_reaches_beyond_them():
    law = fit_scaling_law(SIZES, TOKENS, losses())
    np.testing.assert_allclose([law.floor, law.alpha, law.beta], [E, ALPHA, BETA], rtol=2e-2)
    np.testing.assert_allclose(law.of_parameters * law.middle[0] ** law.alpha, A, rtol=0.1)
    np.testing.assert_allclose(law(SIZES[-1] * 3, TOKENS), hoffmann(SIZES[-1] * 3, TOKENS), rtol=1e-4)


def test_a_run_gone_astray_moves_the_law_little():
    """Huber's loss counts it as far as it is off, not by the square."""
    astray = losses()
    astray[1, 2] *= 1.2
    law = fit_scaling_law(SIZES, TOKENS, astray)
    np.testing.assert_allclose(law(np.array(SIZES)[:, None], np.array(TOKENS)), losses(), rtol=5e-3)


def test_laws_of_seeds_drawn_anew_lie_about_that_of_all_and_as_far_apart_as_the_seeds():
    rng = np.random.default_rng(0)
    apart_S = rng.normal(scale=0.05, size=7)
    loss_SND = losses() * (1 + apart_S[:, None, None])
    at_end = [
        law(SIZES[-1], TOKENS[-1]) / hoffmann(SIZES[-1], TOKENS[-1]) - 1
        for law in resampled_laws(SIZES, TOKENS, loss_SND, 97)
    ]
    assert len(at_end) == 97
    assert np.mean(at_end) == pytest.approx(apart_S.mean(), abs=0.005)
    assert np.std(at_end) == pytest.approx(apart_S.std() / np.sqrt(7), rel=0.3)


def test_the_level_of_a_seed_is_what_it_adds_to_all_sizes():
    rng = np.random.default_rng(0)
    level_SD = rng.normal(size=(7, len(TOKENS)))
    np.testing.assert_allclose(
        seed_levels(losses() + level_SD[:, None]), (level_SD - level_SD.mean(0))[:, None], atol=1e-12
    )


@pytest.mark.parametrize("misfit", [0.0, 0.3])
def test_runs_by_a_law_are_as_far_apart_as_runs_are_however_badly_it_fits(misfit):
    """A run less the level of its seed, of 5 seeds and 4 sizes, varies by 1 + 1 / 4 of a run's own variance."""
    law = ScalingLaw(1.0, 0.5, 1.0, 0.25, 2.0, (10.0, 100.0))
    bent_ND = losses() + misfit * np.array([1, -1, -1, 1])[:, None]
    spread = []
    for seed in range(40):
        loss_SND = bent_ND + np.random.default_rng(seed).normal(scale=0.1, size=(5, *bent_ND.shape))
        runs = runs_by([law] * 400, 1e6, TOKENS, loss_SND - seed_levels(loss_SND))
        assert runs.shape == (400, len(TOKENS))
        spread.append(runs.var(axis=0).mean())
    assert np.mean(spread) == pytest.approx(0.01 * (1 + 1 / 4), rel=0.05)
    np.testing.assert_allclose(runs.mean(0), law(1e6, np.array(TOKENS)), atol=0.02)


def test_a_law_is_a_function_of_both():
    law = ScalingLaw(1.0, 0.5, 1.0, 0.25, 2.0, (10.0, 100.0))
    assert law(10, 100) == 1.75 and law(20, 100) == 1.5 and law(10, 200) == 1.5625


@pytest.mark.parametrize("sizes, tokens", [(2, 5), (4, 2)])
def test_what_any_exponent_fits_is_refused(sizes, tokens):
    with pytest.raises(ValueError, match="needs at least 3 sizes and 3 numbers of tokens"):
        fit_scaling_law(SIZES[:sizes], TOKENS[:tokens], losses()[:sizes, :tokens])
