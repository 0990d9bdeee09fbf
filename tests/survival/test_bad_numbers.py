"""NaN in the middle of a run: the step is left out; where many are, the run goes back, or says where it comes from."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.config.training import RollBack, SkipSpikes, Stop
from jaxformer.data.text import load_text
from jaxformer.parallel.mesh import make_mesh
from jaxformer.recipes.causal_lm import CausalLmTask
from jaxformer.text.kinds import train_tokenizer
from jaxformer.training.checkpoint import Checkpoints
from jaxformer.training.conduct import run_job
from jaxformer.training.loop import Diverged
from jaxformer.training.run import RunFolder
from tests.cli.toy import read_metrics
from tests.survival.lm import config, write_corpus

STEPS = 20


class Poisoned:
    """Batches of which some are all the same token."""

    def __init__(self, batches, bad):
        self._batches, self._bad = batches, bad

    def __getattr__(self, name):
        return getattr(self._batches, name)

    def __getitem__(self, index):
        batch = self._batches[index]
        return batch._replace(tokens_BT=np.full_like(batch.tokens_BT, 3)) if index in self._bad else batch


class PoisonedTask(CausalLmTask):
    """A model whose feed-forward gives NaN for such a batch, in its second layer."""

    def __init__(self, config, bad):
        corpus = load_text(config.data)
        super().__init__(config, corpus, train_tokenizer(config.tokenizer, (*corpus.train, *corpus.valid)))
        self.batches = Poisoned(self.batches, bad)

    def objective_with(self, frozen):
        objective = super().objective_with(frozen)

        def poisoned(params, batch, key):
            sick = jnp.where(jnp.all(batch.tokens_BT == 3), jnp.nan, 1.0)

            def infect(path, leaf):
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                return leaf.at[1].multiply(sick) if "blocks_0/feed_forward/" in name and leaf.ndim > 2 else leaf

            return objective(jax.tree_util.tree_map_with_path(infect, params), batch, key)

        return poisoned


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    """A program for one device is compiled faster than one for eight."""
    monkeypatch.setattr("jaxformer.training.job.make_mesh", lambda config: make_mesh(config, jax.devices()[:1]))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("text") / "corpus")


def trained(data, out, bad, until=None, **changes):
    task = PoisonedTask(config(data, **{"steps": STEPS, "checkpoint_every": 4, **changes}), bad)
    run_job(task, RunFolder(out), until)
    return task


def at(task, out, step):
    """State and progress of a checkpoint."""
    with Checkpoints(out / "checkpoints") as checkpoints:
        return checkpoints.restore(task.abstract, step)


def bits(state):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves((state.params, state.optimizer, state.average))]


def test_a_step_with_nan_leaves_every_bit_as_it_was_and_the_run_goes_on(data, tmp_path):
    out, states = tmp_path / "run", {}
    for until in (6, 7):
        task = trained(data, out, {6}, until)
        states[until], progress = at(task, out, until)
        assert (int(states[until].step), progress.next_batch) == (until, until)
    assert bits(states[7]) == bits(states[6])
    trained(data, out, {6}, until=8)
    rows = read_metrics(out / "metrics.jsonl")
    assert [row["skipped"] for row in rows] == [0, 0, 0, 0, 0, 0, 1, 0]
    assert [row["step"] for row in rows if "loss" not in row] == [7]


def test_many_go_back_to_the_last_checkpoint_and_on_after_them(data, tmp_path, capsys):
    """Batches 10 to 14 are bad; three are enough to go back to step 8, and the other two are left out on the way."""
    out = tmp_path / "run"
    task = trained(data, out, range(9, 14), bad_numbers=RollBack(after=3))
    assert "steps 10 to 12 were left out: back to step 8, and on from there with batch 13\n" in capsys.readouterr().out
    rows = read_metrics(out / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert [row["step"] for row in rows if row["skipped"]] == [9, 10]
    assert at(task, out, STEPS).progress.next_batch == STEPS + 4

    # Without the bad ones, from the same checkpoint on, the same batches give the same run.
    again = tmp_path / "again"
    trained(data, again, (), until=8)
    expected = read_metrics(again / "metrics.jsonl")
    assert [row["loss"].hex() for row in rows[:8]] == [row["loss"].hex() for row in expected]


def test_a_run_that_goes_back_too_often_ends_and_names_the_module(data, tmp_path, capsys):
    with pytest.raises(Diverged) as caught:
        trained(data, tmp_path / "run", range(9, 99), bad_numbers=RollBack(after=2, most=2))
    assert capsys.readouterr().out.count("back to step 8") == 2
    assert str(caught.value).startswith(
        "steps 9 to 10 were left out, what layers/rows_0/blocks_0/feed_forward (turn 2 of 2) gives is the first that "
        "is not finite, the last checkpoint is of step 8; start another run with "
    )


@pytest.mark.slow
def test_a_run_that_stops_can_go_on_after_the_trouble(data, tmp_path):
    out, bad = tmp_path / "run", range(2, 7)
    with pytest.raises(Diverged, match=r"^steps 3 to 7 were left out, what layers/rows_0/blocks_0/feed_forward \(turn"):
        trained(data, out, bad, bad_numbers=Stop(after=5))
    task = trained(data, out, bad, bad_numbers=RollBack(after=5))
    assert at(task, out, STEPS).progress.next_batch == STEPS + 7


@pytest.mark.slow
def test_what_a_spike_is_measured_by_survives_a_restart(data, tmp_path):
    """Losses of a batch that is all one token jump; where the run is cut must not decide what is left out."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    spikes: dict = {
        "bad_numbers": Stop(after=99),
        "optimization": replace(config(data).optimization, spikes=SkipSpikes(factor=12.0, window=5)),
    }
    trained(data, whole, (), **spikes)
    for until in (7, 8, STEPS):
        trained(data, parts, (), until, **spikes)
    rows = read_metrics(whole / "metrics.jsonl")
    assert rows == read_metrics(parts / "metrics.jsonl")
    assert 0 < sum(row["skipped"] for row in rows) < STEPS / 2
