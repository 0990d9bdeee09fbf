"""The experiment on scale: its sizes are those of the models, and its verdict follows from the losses."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from experiments import scale
from experiments.scale import CONFIG, QUICK, decoder, draw, main, parameters
from jaxformer.data.packing import encode_text
from jaxformer.models.decoder import Decoder
from jaxformer.training import text_study
from jaxformer.training.text_study import TOKENIZER
from jaxformer.weights.folder import abstract

SOME = replace(CONFIG, resamples=30)


@pytest.mark.parametrize("width", [*CONFIG.widths, CONFIG.held_out, *QUICK.widths])
def test_parameters_are_those_of_the_layers_without_their_norms(width):
    layers = jax.tree_util.tree_leaves_with_path(abstract(Decoder(decoder(width), 11))["params"]["layers"])
    assert parameters(width) == sum(leaf.size for path, leaf in layers if path[-1].key != "scale")


def made_up(bend=0.0, gain=1.0, noise=0.004):
    """Losses by a law, with seeds apart and runs, by noise; the size held out bends from it by so much."""
    rng = np.random.default_rng(0)
    apart_S, every = rng.normal(scale=0.02, size=len(SOME.seeds)), iter(range(99))

    def keep(name, part, config, width):
        steps_L = np.maximum(np.array(config.looks), 1)
        noise_LS = np.random.default_rng(next(every)).normal(scale=noise, size=(len(steps_L), len(apart_S)))
        law_L = 1.4 + gain * 0.5 * (parameters(width) / 5e4) ** -0.3 + 0.6 * (steps_L / 200) ** -0.4
        return {"loss": law_L[:, None] + apart_S + noise_LS + bend * (width == config.held_out)}

    return keep


def refuted(report):
    return [finding.statement.split(",")[0] for finding in report.findings if not finding.holds]


def test_a_law_that_the_losses_follow_holds_for_the_size_that_was_held_out():
    report = main(SOME, made_up())
    assert report.holds, str(report)
    low, high = report.figures["interval of the law"]["alpha"]
    assert low < report.figures["law"]["alpha"] < high


def test_a_size_that_bends_from_the_law_is_found_out():
    assert refuted(main(SOME, made_up(bend=0.3))) == [
        "loss of the size held out",
        "distance to the law of its seed",
        "loss of the size held out",
    ]
    assert refuted(main(SOME, made_up(bend=-0.3)))[0] == "loss of the size held out"


def test_a_law_so_uncertain_that_it_says_nothing_is_refuted_though_the_size_held_out_is_within_its_interval():
    wrong = refuted(main(SOME, made_up(noise=0.1)))
    assert "width of that interval" in wrong and "loss of the size held out" not in wrong[:1]


def test_losses_that_do_not_fall_with_size_refute_the_exponent_or_the_gain():
    wrong = refuted(main(SOME, made_up(gain=0.0)))
    assert "width of that interval" in wrong and "distance to the law of its seed" in wrong


def test_the_highest_rate_falls_with_the_width(monkeypatch):
    rates = {}
    monkeypatch.setattr(scale, "text_arm", lambda config, decoder: decoder.width)
    monkeypatch.setattr(scale, "train", lambda config, width: rates.update({width: config.optimization}) or Looks())
    for width in (24, 72):
        scale.part(CONFIG, width)
    peaks = [rates[width].schedule.peak / CONFIG.schedule.peak for width in (24, 72)]
    assert peaks == pytest.approx([1, 1 / 3])


class Looks:
    looks = np.zeros(1)


def test_the_picture_and_the_figures_can_be_kept(tmp_path):
    report = main(SOME, made_up())
    assert draw(tmp_path / "scale.png", report) == "" and (tmp_path / "scale.png").stat().st_size > 10_000
    kept = json.loads(json.dumps(report.to_json()))["figures"]
    assert kept["loss"] == report.figures["loss"] and np.shape(kept["loss"]) == (5, 8, len(kept["tokens"]))


@pytest.mark.slow
def test_every_size_learns():
    small = replace(QUICK, steps=20, look_every=5, fit_from=10, looks_at=2, batch=2, length=24, resamples=5)
    text = tuple(f"def f{i}(x):\n    return x + {i}\n" for i in range(40))
    with pytest.MonkeyPatch.context() as patch:
        encoded = [encode_text(part, TOKENIZER.encode_batch) for part in (text[:30], text[30:])]
        patch.setattr(text_study, "builtin_text", lambda: encoded)
        loss_NSD = np.array(main(small).figures["loss"])
    assert loss_NSD.shape == (4, 5, 3) and (loss_NSD[:, :, -1] < 5.5).all()
