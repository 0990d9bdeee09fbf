"""The experiment on depth: what is counted holds at toy size, and is refuted where a layer is another one."""

import json
from dataclasses import replace

import pytest

from experiments import queueing
from experiments.queueing import CONFIG, draw, main
from jaxformer.analysis.evidence import Exact
from jaxformer.analysis.layers import layers

TOY = replace(CONFIG, lengths=(64, 128, 256), timed=(8, 16), width=16, heads=2, repetitions=5, rounds=1)


def counted(report):
    """The verdicts on what was counted, which is exact; times on a busy machine may say anything."""
    return {finding.statement: finding.verdict for finding in report.findings if isinstance(finding, Exact)}


@pytest.fixture(scope="module")
def report():
    return main(TOY)


def test_depth_grows_as_claimed(report):
    verdicts = counted(report)
    assert len(verdicts) == 9 and set(verdicts.values()) == {"holds"}


def test_times_are_judged_by_the_layers_that_took_them(report):
    times, length = report.figures["time"], max(TOY.timed)
    found = next(f for f in report.findings if f.statement == f"GRU, {length} tokens: time over attention's")
    ratios = [gru[-1] / attention[-1] for gru, attention in zip(times["GRU"], times["attention"], strict=True)]
    assert list(found.values) == pytest.approx(ratios, rel=1e-3) and found.low == 1.0


@pytest.mark.parametrize("name, taken_from", [("attention", "GRU"), ("GRU", "minGRU, associative")])
def test_a_layer_that_is_another_one_is_refuted(monkeypatch, name, taken_from):
    def swapped(width, heads):
        found = {layer.name: layer for layer in layers(width, heads)}
        found[name] = replace(found[taken_from], name=name)
        return list(found.values())

    monkeypatch.setattr(queueing, "layers", swapped)
    verdicts = counted(main(TOY))
    assert {said.split(":")[0] for said, verdict in verdicts.items() if verdict == "contrary"} == {name}
    assert {verdict for said, verdict in verdicts.items() if said.startswith(f"{name}:")} == {"contrary"}


def test_the_picture_and_the_figures_can_be_kept(report, tmp_path):
    draw(tmp_path / "queueing.png", report)
    assert (tmp_path / "queueing.png").stat().st_size > 10_000
    assert json.loads(json.dumps(report.to_json()))["figures"] == report.figures


@pytest.mark.parametrize(
    "change, message",
    [
        ({"repetitions": 4}, "repetitions must be at least 5 for a verdict, got 4"),
        ({"timed": (64,)}, "there must be 3 lengths, 2 timed ones and 1 round at least"),
    ],
)
def test_a_config_that_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)
