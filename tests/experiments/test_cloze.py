"""The experiment on gaps: both models are as large, and its verdict follows from what they fill; where GPT takes
BERT's place it is refuted.
"""

import json
from dataclasses import replace

import numpy as np
import pytest

from experiments.cloze import BERT, CONFIG, FOLLOWING, GPT, QUICK, around, draw, main
from jaxformer.models.decoder import Decoder
from jaxformer.models.encoder import Encoder
from jaxformer.training.sentence_study import FIRST, held_out_gaps
from jaxformer.weights.folder import abstract

TOY = replace(QUICK, steps=4, look_every=2, gaps=40, weighed=2, batch=3)


def test_both_models_have_the_same_blocks_and_places():
    assert BERT.groups == GPT.groups and BERT.position == GPT.position
    layers = [abstract(model)["params"]["layers"] for model in (Encoder(BERT, 11), Decoder(GPT, 11))]
    assert layers[0] == layers[1]


def test_words_around_a_gap_are_the_others_of_its_sentence():
    before_SG, behind_SG = around(TOY)
    gaps = held_out_gaps(TOY, TOY.seeds[0])
    lengths = (gaps.rows_GT >= FIRST).sum(1)
    np.testing.assert_array_equal(before_SG[0] + behind_SG[0] + 1, lengths)
    assert before_SG.min() >= 0 and behind_SG.min() >= 1


def made_up(better, steeper=1.0, level=0, larger=0):
    """What both models would have filled, BERT by so many nats better, and more where more follows; none is trained.
    The first `level` seeds have as many right with both; BERT has a `larger` number of parameters.
    """
    looks, seeds = len(CONFIG.looks), len(CONFIG.seeds)
    before_SG, behind_SG = around(CONFIG)
    gain_SG = better * np.where(behind_SG > before_SG, 1 + steeper, 1)
    nll = {"BERT": 3.0 - gain_SG, "GPT": np.full(gain_SG.shape, 3.0)}
    right = {"BERT": np.full(gain_SG.shape, 0.5 + 0.1 * np.sign(better)), "GPT": np.full(gain_SG.shape, 0.5)}
    right["BERT"][:level] = 0.5
    size = {"BERT": np.array(100 + larger), "GPT": np.array(100)}

    def keep(name, part, *arguments):
        found = {"nll": np.stack([nll[name]] * looks), "right": np.stack([right[name]] * looks), "size": size[name]}
        whole = {f"{key} by sentence": found[key][-1, :, : CONFIG.weighed] for key in ("nll", "right")}
        return found | whole

    assert seeds == len(gain_SG)
    return keep


def verdicts(report, verdict):
    return {finding.statement for finding in report.findings if finding.verdict == verdict}


def test_the_claim_holds_where_bert_is_better_and_most_where_most_follows():
    assert main(CONFIG, made_up(0.5, larger=5)).holds


def test_the_claim_fails_where_gpt_is_better_or_what_follows_does_not_matter():
    statements = {finding.statement for finding in main(CONFIG, made_up(0.5)).findings}
    trained = {each for each in statements if "parameters" not in each}
    assert verdicts(main(CONFIG, made_up(-0.5)), "contrary") == trained
    refuted = verdicts(main(CONFIG, made_up(0.5, steeper=-0.5)), "contrary")
    assert refuted == {"nll: BERT less GPT where more follows, less the same where not"}
    assert verdicts(main(CONFIG, made_up(0.5, larger=6)), "contrary") == {"parameters: BERT over GPT"}


def test_a_seed_in_which_both_are_right_as_often_is_no_evidence():
    report = main(CONFIG, made_up(0.5, level=1))
    assert verdicts(report, "not shown") == {
        f"accuracy: BERT less GPT by {how}" for how in ("the next word", "whole sentences")
    }
    assert not verdicts(report, "contrary") and not report.holds


def test_models_that_are_the_same_show_nothing():
    report = main(CONFIG, made_up(0.0))
    assert verdicts(report, "holds") == {"parameters: BERT over GPT"} and not verdicts(report, "contrary")


def test_the_picture_and_the_figures_can_be_kept(tmp_path):
    report = main(CONFIG, made_up(0.5))
    assert draw(tmp_path / "cloze.png", report) == "" and (tmp_path / "cloze.png").stat().st_size > 10_000
    assert json.loads(json.dumps(report.to_json()))["figures"] == report.figures
    assert len(json.dumps(report.to_json())) < 30_000
    assert all(len(row) == len(FOLLOWING) for row in report.figures["nll by words that follow"]["BERT"])


@pytest.mark.slow
def test_both_models_learn_and_the_findings_are_of_the_same_gaps():
    report = main(replace(TOY, steps=30, look_every=15, batch=32))
    for nll_SL in map(np.array, report.figures["nll"].values()):
        assert nll_SL.shape == (5, 3) and (nll_SL[:, -1] < nll_SL[:, 0]).all()
    weighed = report.figures["weighed"]
    finding = next(each for each in report.findings if each.statement == "nll: BERT less GPT by whole sentences")
    apart_S = np.subtract(weighed["BERT"]["nll"], weighed["GPT, whole sentence"]["nll"])
    np.testing.assert_allclose(finding.values, apart_S, atol=2e-4)
