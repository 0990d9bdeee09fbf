"""Both sides of the race compute the same, and the clock tells who did what."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from benchmarks import character_gpt as benchmark
from benchmarks.character_gpt import Config, ours, race, recipe, results, table, theirs
from benchmarks.measure import Disagreement
from jaxformer.config.decoders import gpt2
from jaxformer.config.errors import UserError
from jaxformer.config.text_data import Windows
from jaxformer.data.text import load_text
from jaxformer.recipes.causal_lm import CausalLmTask
from jaxformer.text.kinds import train_tokenizer

TEXT = "".join(f"{i} bottles of beer on the wall, " for i in range(60))


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return Config(str(path), steps=6, turn=2, look=3, compiled=False)


@pytest.fixture(scope="module")
def task(config):
    small = replace(recipe(config), model=gpt2(24, 2, 3, context=16, dropout=0.0), batches=Windows(length=16, rows=3))
    corpus = load_text(small.data)
    return CausalLmTask(small, corpus, train_tokenizer(small.tokenizer, [*corpus.train, *corpus.valid]))


@pytest.fixture(scope="module")
def raced(config, task, torch):
    first, params = ours(task)
    contestants = [first, theirs(task, params, compiled=False)]
    return contestants, race(config, task, contestants)


def test_both_sides_lose_alike_before_and_after_every_look(raced):
    rows = raced[1]
    assert [row["step"] for row in rows] == [0, 0, 6, 6]
    for ours_row, theirs_row in zip(rows[::2], rows[1::2], strict=True):
        assert ours_row["loss"] == pytest.approx(theirs_row["loss"], rel=1e-4)
    assert rows[2]["loss"] < rows[0]["loss"] and 0 < rows[0]["seconds"] < rows[2]["seconds"]


def test_the_table_tells_the_last_loss_and_the_time_of_a_step(raced):
    found = results(*raced)
    assert [row["name"] for row in found] == ["jaxformer", "PyTorch"]
    assert all(row["step_quartiles"][0] <= row["step_median"] <= row["step_quartiles"][1] for row in found)
    assert f"{found[0]['loss']:.3f}" in table(found) and table(found).count("\n") == 3


@pytest.mark.slow
def test_the_whole_race_is_written_down_and_drawn(config, tmp_path, torch):
    document = benchmark.main(replace(config, quick=True, out=tmp_path))
    (path,) = tmp_path.glob("*.json")
    assert json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(document))
    assert [row["step"] for row in document["results"]] == [20, 20] and "/" not in document["config"]["data"]
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_without_its_rival_there_is_no_race(config, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="this benchmark needs PyTorch, which is not installed; pip install torch"):
        benchmark.main(replace(config, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_other_weights_are_noticed(config, task, torch):
    first, params = ours(task)
    other = jax.tree.map(lambda leaf: np.asarray(leaf) * 1.1, params)
    with pytest.raises(Disagreement, match=r"the first losses must agree within 0\.0002, got a difference of"):
        race(config, task, [first, theirs(task, other, compiled=False)])


def test_the_recipe_is_that_of_nanogpt(config):
    asked = recipe(config)
    (group,) = asked.model.groups
    assert (asked.model.width, group.times, group.blocks[0].attention.heads) == (128, 4, 4)
    assert asked.batches == Windows(length=64, rows=12) and asked.model.dropout == 0.0
    assert benchmark.Config("x").steps == 2000
