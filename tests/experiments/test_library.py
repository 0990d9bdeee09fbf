"""The experiment on look-up: its claim holds at toy size, and fails where a reader is another one."""

import json
from dataclasses import replace

import numpy as np
import pytest

from experiments.library import CONFIG, draw, main, readers
from jaxformer.analysis.parameters import model_size
from jaxformer.config.blocks import MultiHead
from jaxformer.training.recall_study import random_shelf

TOY = replace(
    CONFIG,
    seeds=tuple(range(5)),
    steps=300,
    look_every=300,
    pairs=(3, 13),
    keys=17,
    values=11,
    width=16,
    questions=7,
    head_widths=(2, 16),
    patience=1,
)


@pytest.fixture(scope="module")
def report():
    return main(TOY)


def refuted(report):
    return {finding.statement for finding in report.findings if not finding.holds}


def test_the_claim_holds(report):
    assert report.holds, str(report)


def test_the_recurrent_layer_has_as_many_parameters_as_the_widest_head():
    found = list(readers(CONFIG).values())
    shelf = random_shelf(CONFIG, np.random.default_rng(0), np.array([1]))
    widest, recurrent = (model_size(CONFIG.model(reader), shelf) for reader in found[-2:])
    assert recurrent == pytest.approx(widest, rel=0.02)


@pytest.mark.slow
def test_a_head_in_the_place_of_the_recurrent_layer_refutes_what_is_said_of_it():
    assert refuted(main(replace(TOY, recurrent=MultiHead(1, 1, 16, bias=False)))) == {
        "recurrent: accuracy at 3 pairs",
        "recurrent: accuracy at 13 pairs",
    }


@pytest.mark.slow
def test_widths_in_the_wrong_order_refute_what_is_said_of_both_heads():
    found = refuted(main(replace(TOY, head_widths=(16, 2))))
    assert {f"widest head: accuracy at {pairs} pairs" for pairs in TOY.pairs} <= found
    assert "narrowest head: accuracy at 3 pairs less that at 13" in found


def test_the_picture_and_the_figures_can_be_kept(report, tmp_path):
    draw(tmp_path / "library.png", report)
    assert (tmp_path / "library.png").stat().st_size > 10_000
    assert json.loads(json.dumps(report.to_json()))["figures"] == report.figures
