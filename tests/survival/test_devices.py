"""A run may go on on another number of devices, its state divided in another way."""

import json
import shutil
from dataclasses import replace

import chex
import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxformer.analysis.parameters import abstract_parameters
from jaxformer.config.causal_lm import CausalLmConfig
from jaxformer.config.decoders import grouped_query, llama
from jaxformer.config.positions import Rotary
from jaxformer.config.text import Bytes
from jaxformer.config.text_data import Packed
from jaxformer.config.training import AdamW, Cosine, Ema, MeshConfig, OptimizationConfig, WatchConfig
from jaxformer.models.decoder import Decoder
from jaxformer.parallel.mesh import make_mesh
from jaxformer.recipes.causal_lm import train
from jaxformer.training import job
from jaxformer.training.checkpoint import Checkpoints
from jaxformer.training.run import RunFolder
from tests.cli.toy import read_metrics

FIRST, STEPS = 3, 7


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    rng = np.random.default_rng(0)
    for name in ("train", "valid"):
        texts = ["".join(rng.choice(list("abcdefgh"), 40)) for _ in range(50)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return CausalLmConfig(
        data=str(folder),
        # Without biases: that of the keys has no gradient but rounding, which Adam makes as large as any other.
        model=replace(llama(16, 1, grouped_query(2, 2, 8, Rotary()), 32, context=32), dropout=0.1),
        tokenizer=Bytes(),
        batches=Packed(length=24, rows=8),
        optimization=OptimizationConfig(AdamW(), Cosine(peak=1e-3, warmup=2), average=Ema()),
        watch=WatchConfig(validate_every=STEPS),
        steps=STEPS,
    )


def trained(config, out, mesh, monkeypatch, until=None):
    """The rows of a run that is trained on as many devices as the sizes of a mesh multiply to."""
    count = mesh.data * mesh.fsdp * mesh.tensor
    monkeypatch.setattr(job, "make_mesh", lambda asked: make_mesh(asked, jax.devices()[:count]))
    train(replace(config, mesh=mesh), out, until)
    return read_metrics(out / "metrics.jsonl")


def weights(out, config):
    """The average of a run's last parameters."""
    tokenizer = RunFolder(out).tokenizer()
    abstract = nn.unbox(abstract_parameters(Decoder(config.model, tokenizer.size)))
    with Checkpoints(out / "checkpoints") as checkpoints:
        return checkpoints.restore_params(abstract, averaged=True, step=STEPS).params


@pytest.mark.slow
def test_a_run_of_eight_devices_goes_on_on_fewer(config, tmp_path, monkeypatch):
    eight = MeshConfig(data=2, fsdp=4)
    whole, paused = tmp_path / "whole", tmp_path / "paused"
    expected = trained(config, whole, eight, monkeypatch)
    trained(config, paused, eight, monkeypatch, until=FIRST)
    for mesh in (MeshConfig(data=1), MeshConfig(data=1, fsdp=2), MeshConfig(data=2, tensor=2)):
        out = shutil.copytree(paused, tmp_path / "goes on", dirs_exist_ok=True)
        rows = trained(config, out, mesh, monkeypatch)
        assert [row["step"] for row in rows] == list(range(1, STEPS + 1)) and rows[:FIRST] == expected[:FIRST]
        losses, wanted = ([row["loss"] for row in each] for each in (rows, expected))
        np.testing.assert_allclose(losses, wanted, rtol=1e-6, atol=0)
        chex.assert_trees_all_close(weights(out, config), weights(whole, config), rtol=0, atol=1e-6)
        far = jax.tree.map(lambda a, b: np.abs(a - b).max(), weights(out, config), weights(whole, config))
        print(mesh, np.abs(np.subtract(losses, wanted)).max(), max(jax.tree.leaves(far)))
        shutil.rmtree(out)
