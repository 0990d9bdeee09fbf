"""What a step takes follows its options, and who has too little memory is told which of them would help most."""

from dataclasses import replace

import jax
import pytest

from jaxformer.cli.training import _out_of_memory
from jaxformer.config.causal_lm import CausalLmConfig
from jaxformer.config.classify import ClassifyConfig, Labels
from jaxformer.config.data import Bpe
from jaxformer.config.decoders import gpt2
from jaxformer.config.encoders import bert
from jaxformer.config.text_data import Packed
from jaxformer.config.training import OptimizationConfig
from jaxformer.config.translate import TranslateConfig
from jaxformer.recipes.room import out_of_memory, savings, step_memory
from jaxformer.recipes.subjects import subject
from jaxformer.text.bpe import train_bpe
from jaxformer.training.run import RunFolder
from tests.cli.toy import training, write_corpus

VOCABULARY = 97
MODEL = gpt2(width=24, layers=5, heads=2, context=64)
CONFIG = CausalLmConfig(model=MODEL, batches=Packed(length=48, rows=16))


def taken(config):
    return step_memory(subject(config, VOCABULARY), config.batches.rows, config.batches.length)


def test_parts_of_a_batch_keep_so_many_times_less_for_the_backward_pass_and_a_second_gradient():
    whole, parts = taken(CONFIG), taken(replace(CONFIG, optimization=OptimizationConfig(accumulate=4)))
    assert parts["activations"] == pytest.approx(whole["activations"] / 4, rel=0.02)
    assert parts["gradients"] == 2 * whole["gradients"] == 2 * whole["parameters"]
    assert parts["optimizer state"] == whole["optimizer state"]


def test_savings_are_differences_of_what_the_step_takes_and_the_best_come_first():
    whole, found = sum(taken(CONFIG).values()), savings(CONFIG, VOCABULARY)
    others = {
        "--optimization.accumulate 2": replace(CONFIG, optimization=OptimizationConfig(accumulate=2)),
        "--model.layers.remat True": replace(CONFIG, model=replace(MODEL, layers=replace(MODEL.layers, remat=True))),
        "--model.dtype bfloat16": replace(CONFIG, model=replace(MODEL, dtype="bfloat16")),
        '--batches "Packed(length=48, rows=8)"': replace(CONFIG, batches=Packed(length=48, rows=8)),
    }
    expected = {option: whole - sum(taken(other).values()) for option, other in others.items()}
    best = sorted(expected.items(), key=lambda each: -each[1])[:3]
    assert [tuple(saving) for saving in found] == best and all(saving.bytes > 0 for saving in found)


def test_an_option_that_is_taken_already_is_not_told():
    config = replace(CONFIG, model=replace(MODEL, layers=replace(MODEL.layers, remat=True)))
    assert all("remat" not in saving.option for saving in savings(config, VOCABULARY))


@pytest.mark.parametrize(
    "config",
    [
        TranslateConfig(),
        ClassifyConfig(model=bert(24, 2, 2, context=128), dropout=0.1, labels=Labels(("cold", "warm"))),
    ],
    ids=["translate", "classify"],
)
def test_two_readings_keep_twice_as_much_for_the_backward_pass(config):
    once, twice = (step_memory(subject(replace(config, consistency=c), VOCABULARY), 64, 16) for c in (0.0, 5.0))
    assert twice["activations"] == pytest.approx(2 * once["activations"], rel=0.02)
    assert twice["gradients"] == once["gradients"]


def test_what_begins_with_given_weights_is_told_of_an_option_that_it_has():
    labels = Labels(("cold", "warm"))
    model = bert(24, 2, 2, context=128)
    config = ClassifyConfig(model=replace(model, layers=replace(model.layers, remat=True)), labels=labels)
    options = [saving.option for saving in savings(config, VOCABULARY)]
    assert "--dtype bfloat16" in options and "--model.dtype bfloat16" not in options


def test_a_translation_is_told_of_its_batches_as_they_are_asked_for():
    options = [saving.option for saving in savings(TranslateConfig(), VOCABULARY)]
    assert f"--batches.tokens {TranslateConfig().batches.tokens // 2}" in options


def test_a_run_without_memory_ends_with_what_would_help(tmp_path, monkeypatch, capsys):
    from jaxformer.cli import run
    from jaxformer.training import conduct

    def exhausted(*arguments):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9999999999 bytes.")

    monkeypatch.setattr(conduct, "_loop", exhausted)
    code = run(training(write_corpus(tmp_path / "corpus"), tmp_path / "run"))
    *_, line = capsys.readouterr().err.splitlines()
    assert code == 1
    assert line.startswith("jaxformer: the device has too little memory: a step was estimated to take")
    assert line.count("would save") == 3


def test_a_run_is_told_of_the_model_that_it_has_and_not_of_what_the_command_line_says(tmp_path):
    """A classifier is told no model: the preset is chosen when its run begins."""
    run = RunFolder(tmp_path / "run")
    run.begin(ClassifyConfig(model=bert(width=24, layers=2, heads=2, context=128), labels=Labels(("a", "b"))), {})
    run.keep_tokenizer(train_bpe(["a text"] * 2, Bpe(300)))
    assert _out_of_memory(ClassifyConfig, run.path).count("would save") == 3


def test_what_is_told_is_the_estimate():
    told = out_of_memory(CONFIG, VOCABULARY)
    assert all(saving.option in told for saving in savings(CONFIG, VOCABULARY))
    assert "parameters" in told and "activations" in told and "\n" not in told
