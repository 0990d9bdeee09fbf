"""The experiment on scaling: its formulas are the closed ones, it asks what was told, and every finding can fail."""

import json

import numpy as np
import pytest

from experiments.scaling import PAIRS, WIDTHS, ScalingConfig, draw, main, part, rows, start

SEEDS = tuple(range(5))
SMALL = ScalingConfig(seeds=SEEDS, steps=2, look_every=2, batch=3, layers=(1, 3))


def test_every_key_is_told_once_and_asked_once_and_its_value_is_the_one_told():
    batch = rows(np.random.default_rng(0), 7)
    for tokens, counted in zip(batch.tokens_BT, batch.counted_BT, strict=True):
        told = dict(divmod(int(token), PAIRS) for token in tokens[:PAIRS])
        keys, values = tokens[PAIRS::2] - PAIRS**2, tokens[PAIRS + 1 :: 2] - PAIRS**2 - PAIRS
        assert sorted(told) == sorted(keys) == list(range(PAIRS))
        assert [told[key] for key in keys] == values.tolist()
        np.testing.assert_array_equal(np.flatnonzero(counted) + 1, np.arange(PAIRS + 1, 3 * PAIRS, 2))


@pytest.fixture(scope="module")
def first():
    return {"with": start(SMALL, None), "without": start(SMALL, 1.0)}


def test_the_variance_is_one_or_the_width_and_the_entropy_that_of_normal_scores(first):
    np.testing.assert_allclose(first["with"]["variance"], 1.0, rtol=0.2)
    np.testing.assert_allclose(first["without"]["variance"].T / WIDTHS, 1.0, rtol=0.2)
    # Of many independent normal scores of variance v < 1: log n - v / 2.
    np.testing.assert_allclose(first["with"]["entropy"][-1], 1 - 0.5 / np.log(64), atol=0.01)


def test_the_gradient_is_the_norm_of_diag_p_less_p_p(first):
    rng = np.random.default_rng(0)
    q_T1H, k_TSH = rng.normal(size=(128, 1, 4)), rng.normal(size=(128, 64, 4))
    p_TS = np.exp((q_T1H * k_TSH).sum(-1) / 2)
    p_TS /= p_TS.sum(1, keepdims=True)
    norms_T = [np.linalg.norm(np.diag(p_S) - np.outer(p_S, p_S)) for p_S in p_TS]
    np.testing.assert_allclose(first["with"]["gradient"][0, 0], np.median(norms_T), rtol=1e-4)


LOSSES = {"with": (0.1, 0.2), "without": (0.5, 1.5), "made up for": (0.2, 0.4)}


def judged(first, config=SMALL, losses=LOSSES):
    """The report on these losses of few and of many layers; what is said of the start is `first`, if given."""
    found = {f"start {name}": by for name, by in first.items()}
    for name, by in losses.items():
        for layers, loss in zip(config.layers, by, strict=True):
            values_PS = np.array([[5.0], [loss]]) + np.linspace(0, 0.01, len(SEEDS))
            found[f"{layers} {name}"] = {"loss": values_PS, "entropy": values_PS / 5}
    return main(config, lambda name, part, *arguments: found[name] if name in found else part(*arguments))


def refuted(report):
    return [finding.statement for finding in report.findings if finding.verdict == "contrary"]


def test_the_claim_holds_for_what_it_says_and_its_picture_can_be_kept(first, tmp_path):
    report = judged(first)
    assert report.holds, str(report)
    assert json.loads(json.dumps(report.to_json()))
    assert draw(tmp_path / "scaling.png", report) == "" and (tmp_path / "scaling.png").stat().st_size > 10_000


def test_it_fails_where_both_arms_divide_and_where_neither_does(first):
    for name, other in (("with", "without"), ("without", "with")):
        wrong = refuted(judged(first | {name: first[other]}))
        assert len(wrong) == 3 and all(statement.startswith(f"{name} division") for statement in wrong)


@pytest.mark.parametrize("losses, wrong", [((0.1, 0.1), [1, 2]), ((0.05, 1.5), [0]), ((1.5, 0.5), [2])])
def test_it_fails_where_models_learn_as_much_without(first, losses, wrong):
    losses = LOSSES | {"without": losses}
    statements = ["1 layers: loss without less with", "3 layers: loss without less with"]
    statements.append("by how much more in the latter: loss without less with")
    assert refuted(judged(first, losses=losses)) == [statements[i] for i in wrong]


@pytest.mark.slow
def test_arms_begin_alike_where_queries_make_up_for_it_and_read_fewer_keys_where_not():
    arms = {"with": (None,), "without": (1.0,), "made up for": (1.0, True)}
    found = {name: part(SMALL, 1, *arm) for name, arm in arms.items()}
    with_, without, made_up = found.values()
    np.testing.assert_allclose(made_up["loss"][0], with_["loss"][0], rtol=1e-4)
    np.testing.assert_allclose(made_up["entropy"][0], with_["entropy"][0], rtol=1e-3)
    assert (without["entropy"][0] < 0.8 * with_["entropy"][0]).all()
