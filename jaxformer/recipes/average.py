"""One run of several: the mean of their weights."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxformer.analysis.hardware import describe
from jaxformer.config.errors import UserError
from jaxformer.recipes.subjects import CONFIGS, subject
from jaxformer.training.checkpoint import Checkpoints
from jaxformer.training.conduct import restored
from jaxformer.training.given import model_changes
from jaxformer.training.optimizers import optimizer
from jaxformer.training.run import RunFolder
from jaxformer.training.state import new_state


def average(paths: Sequence[Path], out: Path) -> Path:
    """Make the run folder `out` with the mean of the best parameters of these runs, and the first one's configuration
    and tokenizer; returns the folder. It is as if trained to its end, and names the runs in its env.json.

    Where runs began with the same weights and found their way to the same valley, the mean is often better than each of
    them. Raises UserError where they are of different jobs, models or tokenizers, where a run trained low-rank updates,
    and where something is at `out`. Source: Wortsman et al. 2022, Model soups, eq. 1.
    """
    if len(paths) < 2:
        raise UserError(f"a mean is of two runs or more, got {len(paths)}; name further run folders")
    if out.exists():
        raise UserError(f"{out} exists already; choose another --out")
    runs = [RunFolder(path) for path in paths]
    first, kind = runs[0], CONFIGS[runs[0].kind()]
    configs, tokenizer = [run.config(kind) for run in runs], first.tokenizer()
    about = subject(configs[0], tokenizer.size)
    if about.updates is not None:
        raise UserError(f"{first.path} holds low-rank updates and no weights; export it, and use the folder")
    for run, config in zip(runs, configs, strict=True):
        if changes := model_changes(configs[0].model, config.model):
            raise UserError(f"the model of {run.path} is another than that of {first.path}: {'; '.join(changes)}")
        if run.tokenizer_files() != first.tokenizer_files():
            raise UserError(f"{run.path} has another tokenizer than {first.path}; give runs that read alike")
    every = [restored(run, config, about.model)[0] for run, config in zip(runs, configs, strict=True)]
    mean = jax.tree.map(lambda *leaves: sum(leaves[1:], leaves[0]) / len(leaves), *every)
    _write(RunFolder(out), configs[0], mean, first, {"averaged": [str(path) for path in paths]})
    return out


def _write(target: RunFolder, config: Any, params: Any, first: RunFolder, found: dict[str, Any]) -> None:
    """A run with these parameters at its last step, so that nothing is left to train."""
    o = config.optimization
    update = optimizer(o, config.steps, config.model.width)
    state = new_state(params, update, o.average, jax.random.key(config.seed))
    with Checkpoints(first.checkpoints_path) as there:
        progress = there.progress(there.steps[-1])
    target.begin(config, describe() | found)
    target.keep_tokenizer(first.tokenizer())
    with Checkpoints(target.checkpoints_path) as checkpoints:
        last = state._replace(step=jnp.asarray(config.steps, jnp.int32))
        checkpoints.save(last, replace(progress, best_score=None, best_step=0, validations_since_best=0))
