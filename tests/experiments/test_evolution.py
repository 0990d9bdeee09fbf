"""The experiment on what was rebuilt since 2017: each switch changes what it says and nothing else, and a switch that
makes a decoder worse is found out.
"""

import json
import runpy
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest

from experiments import evolution
from experiments.evolution import ALL, BASE, CONFIG, SWITCHES, draw, main
from jaxformer.config.blocks import PreNorm, RmsNorm
from jaxformer.config.experts import MixtureOfExperts
from jaxformer.config.model import NoPosition
from jaxformer.config.positions import Rotary
from jaxformer.config.training import Cosine, Muon
from jaxformer.data.packing import encode_text
from jaxformer.models.decoder import Decoder
from jaxformer.training import text_study
from jaxformer.training.text_study import TOKENIZER
from jaxformer.weights.folder import abstract

SMALL = replace(CONFIG, steps=4, look_every=2, looks_at=2, length=24, batch=2)


def weights(arm, active=True):
    """Weights of all layers; of experts those alone that a token passes through."""
    block, count = arm.block, 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(abstract(Decoder(arm.decoder, 11))["params"]["layers"]):
        expert = isinstance(block.feed_forward, MixtureOfExperts) and path[-1].key.startswith("expert_")
        count += leaf.size * (block.feed_forward.active / block.feed_forward.experts if active and expert else 1)
    return count


def test_parameters_that_a_token_passes_through_are_as_many_but_where_a_switch_is_there_to_have_fewer():
    sizes = {name: weights(arm) / weights(CONFIG.arms[BASE]) for name, arm in CONFIG.arms.items()}
    assert sizes.pop("grouped") == pytest.approx(0.917, abs=0.002) and 0.88 < sizes.pop(ALL) < 0.93
    assert all(abs(size - 1) < 0.03 for size in sizes.values()), sizes
    assert weights(CONFIG.arms["experts"], active=False) > 1.6 * weights(CONFIG.arms[BASE])


def test_all_together_has_every_new_part_and_none_of_the_old():
    every, base = CONFIG.arms[ALL], CONFIG.arms[BASE]
    assert every.block.placement == PreNorm() and every.block.norm == every.decoder.norm == RmsNorm()
    assert every.decoder.position == NoPosition() and every.block.attention.rotary == Rotary()
    assert isinstance(every.block.feed_forward, MixtureOfExperts) and every.block.feed_forward.gated
    assert isinstance(every.optimization.optimizer, Muon)
    assert every.optimization.schedule == CONFIG.of_all.schedule
    assert every.block.attention.rotary.rotated_width(12) == 12 and every.block.attention.kv_heads == 2
    assert base.decoder.norm is None and not CONFIG.arms["experts"].block.feed_forward.gated
    cached = {name: sum(np.prod(row) for row in arm.block.attention.rows) for name, arm in CONFIG.arms.items()}
    assert cached["grouped"] == cached[ALL] == cached[BASE] / 2 and cached["latent"] == 36 < cached["grouped"]


def test_latent_attention_has_the_positions_of_rotary_which_it_is_compared_with_even_where_that_is_not_asked_for():
    arms = replace(CONFIG, switches=("latent", "Muon")).arms
    assert list(arms) == [BASE, "rotary", "latent", "Muon"]
    assert arms["latent"].decoder.position == arms["rotary"].decoder.position == NoPosition()
    report = main(replace(CONFIG, switches=("latent",)), made_up)
    assert [finding.statement for finding in report.findings][1] == "latent: loss less that of rotary"
    np.testing.assert_allclose(report.findings[1].values, LESS["latent"] - LESS["rotary"])


def test_a_switch_changes_one_thing():
    base = CONFIG.arms[BASE]
    for name, switch in SWITCHES.items():
        changed = switch(base)
        apart = [
            part for part in ("attention", "feed_forward", "norm", "placement")
            if getattr(changed.block, part) != getattr(base.block, part)
        ] + ["optimizer"] * (changed.optimization != base.optimization)  # fmt: skip
        assert len(apart) == 1, (name, apart)


@pytest.mark.parametrize("option, words", [("--list", list(SWITCHES)), ("--help", ["--list", "--switches"])])
def test_the_command_line_names_the_switches_and_its_help_says_how(option, words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["evolution.py", option])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(evolution.__file__, run_name="__main__")
    assert not end.value.code
    printed = capsys.readouterr().out
    assert all(word in printed for word in words)
    assert option != "--list" or printed.split("\n")[:-1] == words


@pytest.fixture(scope="module")
def report():
    def harmful(old):
        return old._replace(optimization=replace(old.optimization, schedule=Cosine(peak=1e-9, warmup=1)))

    text = tuple(f"def f{i}(x):\n    return x + {i}\n" for i in range(40))
    with pytest.MonkeyPatch.context() as patch:
        encoded = [encode_text(part, TOKENIZER.encode_batch) for part in (text[:30], text[30:])]
        patch.setattr(text_study, "builtin_text", lambda: encoded)
        patch.setattr(evolution, "SWITCHES", {"harmless": lambda old: old, "harmful": harmful})
        return main(replace(SMALL, switches=("harmless", "harmful")))


@pytest.mark.slow
def test_a_switch_that_keeps_a_decoder_from_learning_is_refuted_alone_and_with_all(report):
    refuted = {finding.statement for finding in report.findings if finding.verdict == "contrary"}
    assert refuted == {
        f"harmful: loss less that of {BASE}",
        f"{ALL}: loss less that of {BASE}",
        f"{ALL}: loss less that of the best other",
    }
    loss = {name: np.array(loss_SL) for name, loss_SL in report.figures["loss"].items()}
    np.testing.assert_allclose(loss["harmless"], loss[BASE], rtol=1e-6)
    assert (loss[BASE][:, -1] < loss[BASE][:, 0]).all()
    np.testing.assert_allclose(loss["harmful"][:, -1], loss["harmful"][:, 0], rtol=1e-4)


LESS = {BASE: 0.0, "rotary": -0.2, "grouped": 0.019, "latent": -0.179, "Muon": 0.001, ALL: -0.21}


def made_up(name, part, *arguments):
    """What arms would have found; none is trained."""
    if name == "cost":
        return {arm: np.arange(1.0, 6.0) for arm in LESS}
    return {"loss": np.full((7, 5), 2.0 + LESS[name])}


def test_what_saves_something_may_cost_a_little_and_what_does_not_may_not():
    report = main(replace(CONFIG, switches=("grouped", "latent", "Muon")), made_up)
    refuted = {finding.statement.split(":")[0] for finding in report.findings if not finding.holds}
    assert refuted == {"latent", "Muon"} and not report.holds


def test_the_picture_and_the_figures_can_be_kept(tmp_path):
    report = main(replace(CONFIG, switches=("grouped", "latent", "Muon")), made_up)
    assert draw(tmp_path / "evolution.png", report) == "" and (tmp_path / "evolution.png").stat().st_size > 10_000
    assert json.loads(json.dumps(report.to_json()))["figures"] == report.figures


def test_a_switch_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(ValueError, match=r"switches must be some of pre-norm, RMS norm, .*, got muon"):
        replace(CONFIG, switches=("muon",))
