"""Answers that are preferred become likelier than the others, measured by what the model was."""

from dataclasses import replace

import numpy as np
import pytest

from jaxformer.config.instruct import FullWeights, Preference
from jaxformer.recipes.bundle import load_bundle
from jaxformer.recipes.instruct import load
from jaxformer.text.turns import encode_answer
from tests.cli.toy import read_metrics
from tests.recipes.chat_toys import ANSWERS, arguments, config_of, in_parts_as_in_one, teach, user, write_pairs

STEPS = 60


@pytest.fixture(scope="module")
def asked(llama, tmp_path_factory):
    """The arguments of a toy run, but for its folder."""
    how = "--learning=Preference(imitation=0.2)", "--adapter=Lora", f"steps={STEPS}", "batches.tokens=200"
    return arguments(write_pairs(tmp_path_factory.mktemp("pairs")), llama, *how)


@pytest.fixture(scope="module")
def taught(asked, tmp_path_factory):
    return teach(asked, tmp_path_factory.mktemp("taught") / "run")


def log_p(bundle):
    """Of every answer to every word, by the plain forward pass."""
    found = np.zeros((len(ANSWERS), len(ANSWERS)))
    for i, word in enumerate(ANSWERS):
        for j, answer in enumerate(ANSWERS):
            ids, counts = encode_answer(bundle.speaker, [user(f"the {word}")], f"the {answer}")
            scores = np.asarray(bundle.logits(np.array([ids])), np.float64)[0, :-1]
            each = scores - np.log(np.exp(scores - scores.max(-1, keepdims=True)).sum(-1, keepdims=True))
            each -= scores.max(-1, keepdims=True)
            found[i, j] = each[np.arange(len(ids) - 1), ids[1:]][counts[1:]].sum()
    return found


def test_what_is_preferred_becomes_likelier_and_gains_more_than_the_rest(taught, llama):
    before, after = log_p(load_bundle(llama)), log_p(load(taught.out))
    right = np.array([[answer == ANSWERS[word] for answer in ANSWERS] for word in ANSWERS])
    gain = after - before
    assert np.all(gain[right] > 1) and np.all(gain[right][:, None] > np.where(right, -np.inf, gain) + 1)


def test_the_figures_are_those_of_the_held_out_pairs(taught, llama):
    """The first rejected answer to each word, by the plain forward pass."""
    gain = log_p(load(taught.out)) - log_p(load_bundle(llama))
    words = list(ANSWERS)
    margins = [
        gain[i, words.index(answer)] - gain[i, next(j for j, bad in enumerate(words) if bad != answer)]
        for i, answer in enumerate(ANSWERS.values())
    ]
    last = read_metrics(taught.out / "metrics.jsonl")[-1]
    assert last["step"] == STEPS and last["valid_accuracy"] == 1
    assert last["valid_margin"] == pytest.approx(0.1 * np.mean(margins), rel=1e-3)


def test_training_begins_at_the_loss_of_a_coin(taught, asked):
    first = read_metrics(taught.out / "metrics.jsonl")[0]
    assert first["loss"] == pytest.approx(np.log(2) + 0.2 * first["nll"], rel=1e-4) and first["tokens"] == 8
    assert "11 / 4 pairs" in taught.printed and "MFLOP per predicted pair" in taught.printed
    assert "note       dropped 1 of 12 train pairs, longer than batches.max_length=48 tokens" in taught.printed
    assert "asked      the cat\nanswered   the dog\n" in taught.printed


def test_all_weights_stopped_and_resumed_equal_uninterrupted(asked, tmp_path):
    """The reference is computed anew from the model that the run began with."""
    in_parts_as_in_one(replace(config_of(asked), adapter=FullWeights(), steps=3), tmp_path)


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(beta=0.0), "beta must be positive"),
        (dict(imitation=-0.1), "imitation must be at least 0"),
        (dict(smoothing=0.5), r"smoothing must lie in \[0, 0.5\), got smoothing=0.5"),
    ],
)
def test_impossible_preferences(fields, message):
    with pytest.raises(ValueError, match=message):
        Preference(**fields)
