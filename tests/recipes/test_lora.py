"""Answers taught by low-rank updates alone: the run holds nothing else, and the model it began with stays as it was."""

import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from jaxformer.analysis.memory import readable
from jaxformer.cli import run as command
from jaxformer.config.errors import UserError
from jaxformer.config.instruct import InstructConfig
from jaxformer.recipes.bundle import load_bundle
from jaxformer.recipes.instruct import load, train
from jaxformer.training.checkpoint import Checkpoints
from jaxformer.training.run import RunFolder
from tests.cli.toy import read_metrics, refusal
from tests.recipes.chat_toys import answers, arguments, config_of, in_parts_as_in_one, teach

RANK = 3


@pytest.fixture(scope="module")
def asked(llama, chats):
    """The arguments of a toy run, but for its folder."""
    return arguments(chats, llama, f"--adapter=Lora(rank={RANK})")


@pytest.fixture(scope="module")
def taught(asked, tmp_path_factory):
    return teach(asked, tmp_path_factory.mktemp("taught") / "run")


def test_it_learns_and_the_rest_of_the_model_stays_as_it_was(taught, llama):
    before, after = load_bundle(llama), load(taught.out)
    losses = [row["loss"] for row in read_metrics(taught.out / "metrics.jsonl")]
    assert losses[-1] < losses[0] / 3
    changes = jax.tree.map(np.subtract, after.params, before.params)
    for path, change in jax.tree_util.tree_leaves_with_path(changes):
        name = path[-1].key
        if name in ("query", "key", "value", "output", "up", "gate", "down") and len(path) > 3:
            inputs = 2 if name == "output" else 1
            for layer in change:
                assert np.linalg.matrix_rank(layer.reshape(int(np.prod(layer.shape[:inputs])), -1), tol=1e-4) == RANK
        else:
            assert not np.any(change), path


def test_a_checkpoint_holds_the_updates_alone(taught, llama):
    run = RunFolder(taught.out)
    assert "adapter    rank 3, 2,160 weights are trained" in taught.printed
    with Checkpoints(run.checkpoints_path) as checkpoints:
        (step, *_) = checkpoints.steps
    saved = ocp.checkpointables_metadata(run.checkpoints_path.resolve() / str(step)).metadata["model"]
    names = {jax.tree_util.keystr(path[-1:], simple=True) for path, _ in jax.tree_util.tree_leaves_with_path(saved)}
    assert names == {"a", "b"}


def test_updates_have_no_mean(taught, tmp_path, capsys):
    out, run = tmp_path / "out", str(taught.out)
    said = f"{run} holds low-rank updates and no weights; export it, and use the folder"
    assert refusal(capsys, "average", run, run, "--out", str(out)) == said
    assert not out.exists()


def test_the_memory_of_a_step_knows_what_is_frozen(taught, llama, capsys):
    """Gradients and Adam's two moments are of the 2,160 weights that are trained alone, four bytes each."""
    assert command(["inspect", str(taught.out)]) == 0
    lines = capsys.readouterr().out.partition("memory of a training step")[2].splitlines()[2:7]
    table = dict(line.rsplit("  ", 1) for line in lines)
    sizes = {name.strip(): size.strip() for name, size in table.items()}
    whole = sum(leaf.size for leaf in jax.tree.leaves(load_bundle(llama).params))
    assert (sizes["gradients"], sizes["optimizer state"]) == (readable(4 * 2160), readable(8 * 2160 + 8))
    assert sizes["parameters"] == readable(4 * (whole + 2160))


def test_what_is_exported_says_the_same(taught, tmp_path):
    bundle = load(taught.out)
    bundle.save(tmp_path)
    exported = load_bundle(tmp_path)
    tokens = np.arange(23)[None]
    np.testing.assert_array_equal(exported.logits(tokens), bundle.logits(tokens))
    assert answers(exported) == answers(bundle)
    assert exported.speaker.chat_template == bundle.speaker.chat_template


def test_stopped_and_resumed_equals_uninterrupted(asked, tmp_path):
    config = replace(config_of(asked), steps=4)
    in_parts_as_in_one(replace(config, adapter=replace(config.adapter, dropout=0.3)), tmp_path)


def test_without_the_weights_that_they_update_updates_are_nothing(taught, llama, tmp_path):
    copy, out = shutil.copytree(llama, tmp_path / "model"), shutil.copytree(taught.out, tmp_path / "run")
    run = RunFolder(out)
    config = replace(run.config(InstructConfig), init=copy)
    run.keep_config(config)
    load(out)
    weights = next(copy.glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UserError, match=f"{out} holds updates of the weights in {copy}, which have changed since; "):
        load(out)
    with pytest.raises(UserError, match=f"{copy} has other weights than the run began with; give the same --init "):
        train(config, out)
    shutil.rmtree(copy)
    with pytest.raises(UserError, match=f"{out} holds updates of the weights in {copy}, which is gone; put it back"):
        load(out)
