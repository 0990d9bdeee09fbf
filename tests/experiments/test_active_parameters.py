"""The experiment on active parameters: its arms are as large as it says, and its verdict follows from the losses."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from experiments.active_parameters import ARMS, CONFIG, DENSE, active, cached, draw, main
from jaxformer.config.training import AdamW, Cosine, OptimizationConfig
from jaxformer.data.packing import encode_text
from jaxformer.models.decoder import Decoder
from jaxformer.training import text_study
from jaxformer.training.text_study import TOKENIZER, TextStudyConfig
from jaxformer.weights.folder import abstract

SMALL = TextStudyConfig(
    seeds=tuple(range(5)),
    steps=4,
    look_every=2,
    looks_at=2,
    length=24,
    batch=2,
    optimization=OptimizationConfig(AdamW(), Cosine(peak=1e-2, warmup=1)),
)
EXPERTS = ("expert_gate", "expert_up", "expert_down")


def weights(config, active):
    """Weights of all layers, counted in the real model, norms left out; of experts the active ones alone."""
    mixture, count = config.groups[0].blocks[0].feed_forward, 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(abstract(Decoder(config, 11))["params"]["layers"]):
        name = path[-1].key
        part = mixture.active / mixture.experts if active and name in EXPERTS else 1
        count += 0 if name == "scale" else part * np.prod(leaf.shape)
    return count


@pytest.mark.parametrize("arm", ARMS)
def test_active_parameters_are_those_of_the_model(arm):
    assert active(ARMS[arm]) == weights(ARMS[arm], active=True)
    assert 0.99 <= active(ARMS[arm]) / active(DENSE) <= 1.02


def test_experts_hold_more_and_latent_attention_keeps_less():
    assert weights(ARMS["experts"], active=False) > 2.5 * weights(DENSE, active=False)
    assert cached(ARMS["latent"]) < cached(DENSE) == cached(ARMS["experts"]) == 2 * 2 * 2 * 16


LAST = {"dense": 2.2, "experts": 2.19, "latent": 2.2}
STATEMENTS = {arm: f"{arm}: loss less that of the dense decoder" for arm in ("experts", "latent")}


def refuted(report):
    return {finding.statement for finding in report.findings if finding.verdict == "contrary"}


@pytest.mark.parametrize(
    "last, wrong", [({}, []), ({"experts": 2.21}, ["experts"]), ({"latent": 2.21}, ["latent"]), ({"dense": 2.1}, LAST)]
)
def test_an_arm_whose_loss_is_higher_refutes_what_is_said_of_it_alone(last, wrong):
    def keep(name, part, *arguments):
        return {"loss": np.full((11, len(CONFIG.seeds)), (LAST | last)[name])}

    assert refuted(main(CONFIG, keep)) == {STATEMENTS[arm] for arm in wrong if arm in STATEMENTS}


@pytest.fixture(scope="module")
def small_text():
    text = tuple(f"def f{i}(x):\n    return x + {i}\n" for i in range(40))
    with pytest.MonkeyPatch.context() as patch:
        encoded = [encode_text(part, TOKENIZER.encode_batch) for part in (text[:30], text[30:])]
        patch.setattr(text_study, "builtin_text", lambda: encoded)
        yield


@pytest.mark.slow
def test_experts_that_do_not_learn_are_refuted_and_a_dense_decoder_in_the_place_of_latent_attention_is_not(small_text):
    still = OptimizationConfig(AdamW(), Cosine(peak=1e-9, warmup=1))

    def keep(name, part, config, arm):
        return part(replace(config, optimization=still) if name == "experts" else config, DENSE)

    assert refuted(main(SMALL, keep)) == {STATEMENTS["experts"]}


@pytest.fixture(scope="module")
def report(small_text):
    return main(SMALL)


@pytest.mark.slow
def test_every_arm_learns_and_the_findings_are_differences_of_their_last_losses(report, tmp_path):
    loss = {name: np.array(loss_SL) for name, loss_SL in report.figures["loss"].items()}
    assert all(loss_SL.shape == (5, 3) and (loss_SL[:, -1] < loss_SL[:, 0]).all() for loss_SL in loss.values())
    for finding, name in zip(report.findings, ("experts", "latent"), strict=False):
        np.testing.assert_allclose(finding.values, loss[name][:, -1] - loss["dense"][:, -1])
        assert finding.holds == (np.array(finding.values) <= 0).all()
    assert draw(tmp_path / "picture.png", report) == "" and (tmp_path / "picture.png").stat().st_size > 10_000
    assert json.dumps(report.to_json())
