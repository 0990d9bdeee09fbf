"""The experiment on memory: what holds of untrained gradients at toy size is refuted where a network is another one."""

import json
from dataclasses import replace

import numpy as np
import pytest

from experiments.forgetting import CONFIG, TOKENS, arms, draw, main
from jaxformer.analysis.parameters import model_size
from jaxformer.config.blocks import MultiHead
from jaxformer.config.decoders import llama
from jaxformer.config.model import Lstm, RecurrentDecoderConfig, Tanh
from jaxformer.training.memory_study import memory_arm
from jaxformer.training.study import train

TOY = replace(
    CONFIG,
    seeds=tuple(range(5)),
    steps=1,
    look_every=1,
    batch=2,
    names=2,
    learned=(1, 2),
    near=(2,),
    far=(53,),
    held_out=5,
    felt=3,
    attention=llama(8, 1, MultiHead(1, 1, 8, bias=False), 8, context=64),
    rivals=(RecurrentDecoderConfig(Tanh(), 8, layers=1),),
)


@pytest.fixture(scope="module")
def report():
    return main(TOY)


def refuted(report):
    return {finding.statement.split(":")[0] for finding in gradients(report) if not finding.holds}


def gradients(report):
    return [finding for finding in report.findings if "gradient" in finding.statement]


def test_gradients_reach_the_fact_in_attention_and_fade_in_a_recurrent_network(report):
    assert len(gradients(report)) == 2 and not refuted(report), str(report)


def test_who_has_learned_nothing_remembers_nothing(report):
    assert "attention: accuracy at 53" in {finding.statement for finding in report.findings if not finding.holds}


@pytest.mark.slow
def test_a_recurrent_network_in_the_place_of_attention_is_refuted():
    assert refuted(main(replace(TOY, attention=replace(TOY.rivals[0], width=13)))) == {"attention"}


def test_all_have_as_many_parameters():
    sizes = [model_size(CONFIG.model(decoder), TOKENS) for decoder in arms(CONFIG).values()]
    assert len(sizes) == 5
    np.testing.assert_allclose(sizes, sizes[0], rtol=0.03)


@pytest.mark.slow
def test_a_network_that_has_learned_a_near_fact_answers_it():
    config = replace(TOY, steps=300, look_every=300, batch=32, learned=(1, 2), held_out=32)
    seen = train(config, memory_arm(config, RecurrentDecoderConfig(Lstm(), 16, 16, layers=1))).looks
    assert (seen.accuracy[1, :, 0] > 0.9).all()
    assert ((seen.share >= 0) & (seen.share <= 1)).all()


def test_the_picture_and_the_figures_can_be_kept(report, tmp_path):
    draw(tmp_path / "forgetting.png", report)
    assert (tmp_path / "forgetting.png").stat().st_size > 10_000
    assert json.loads(json.dumps(report.to_json()))["figures"] == report.figures
