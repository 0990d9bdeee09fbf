"""How long does a training step take here, beside the same model in PyTorch and beside what the processor can multiply?

A step is the loss and its gradient, clipping, and Adam's update, of float32 weights that begin as the same ones on all
sides, with the same batch in memory. Before anything is timed, loss and gradient must agree.

- GPT: 6 layers of width 384 that read 256 characters, 4 and 8 rows a step; the rival is `torch_gpt.py`.
- Encoder-decoder: 6 and 6 layers of width 512, 16 pairs of 64 tokens; the rival is `torch.nn.Transformer`.
- BERT-mini: 4 layers of width 256, 16 rows of 128 tokens of which 20 are hidden; the rival is
  `torch.nn.TransformerEncoder`.

`jaxformer` writes the layers out, which is faster where there are few; `scanned` is what the library does unless told,
and `bfloat16` rounds the operands of products, which are summed in float32. PyTorch runs step by step and through
`torch.compile`, where a C++ compiler is at hand, with fused Adam. Operations are those of the products of matrices,
where causal attention counts as half of the whole table; those of an encoder-decoder and a BERT are of whole tables.

What the figures do not show: data, of which the same batch is read again and again; and dropout, which is left out.

    python -m benchmarks.train_step [--quick] [--check]
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks import measure
from benchmarks.comparison import (
    MATRIX_PRODUCT,
    Row,
    alike,
    as_one,
    cases,
    compare,
    label,
    matrix_product,
    share,
    times,
)
from benchmarks.goals import TOYS, Asked, Goal, Verdict, command, conduct
from benchmarks.steps import (
    SCANNED,
    BertShape,
    GptShape,
    Learner,
    PairShape,
    encoder,
    encoder_decoder,
    gpt,
)
from jaxformer.analysis.flops import training_flops
from jaxformer.analysis.timing import Contestant
from jaxformer.cli.keeping import compute_here
from jaxformer.config.model import DecoderConfig
from jaxformer.config.training import AdamW
from jaxformer.data.packing import TextBatch

OURS, OURS_SCANNED, OURS_BFLOAT16 = "jaxformer", "jaxformer, scanned", "jaxformer, bfloat16"
EAGER, COMPILED = "torch", "torch, compiled"
TOLERANCE = 1e-3
"""Relative L2 distance at which losses, and whole gradients, count as different. PyTorch's gradient of the
encoder-decoder was seen 1.1e-4 away from the one that it computes in float64, where ours was 1.3e-5 away.
"""
ROUNDED = 5e-2
"""The same where operands are rounded to bfloat16, whose numbers have 8 bits."""

GPT_STEP = Goal("GPT step, against the better of torch and torch.compile", at_least=1.15)
GPT_RATE = Goal("GPT step, of the matrix-product rate", at_least=85, unit="%")
PAIR_STEP = Goal("encoder-decoder step, against the better of torch and torch.compile", at_least=1.15)
BERT_STEP = Goal("BERT step, against the better of torch and torch.compile", at_least=1.15)
BFLOAT16 = Goal("GPT step in bfloat16, against float32", at_least=1.5)
SCAN = Goal("scanned layers, time against unrolled", at_most=1.05)


@dataclass(frozen=True)
class Config(Asked):
    """Shapes and effort of the benchmark."""

    seconds: float = 30.0
    """Time to spend on each comparison; five rounds are taken in any case."""
    gpt: GptShape = GptShape()
    rows: tuple[int, ...] = (4, 8)
    """Rows of the GPT's batches."""
    pairs: PairShape = PairShape()
    bert: BertShape = BertShape()
    compiled: bool = True
    """Let PyTorch run compiled too."""


def quickened(config: Config) -> Config:
    """The same questions of small shapes, without the compiler of PyTorch, which takes a minute for each."""
    return replace(
        config,
        gpt=GptShape(1, 16, 2, 16, 31),
        rows=(2,),
        pairs=PairShape(1, 16, 2, 8, 2, 31),
        bert=BertShape(1, 16, 2, 8, 3, 2, 31),
        compiled=False,
        seconds=0.1,
        out=TOYS,
    )


@dataclass(frozen=True)
class Race:
    """One model on both sides."""

    case: dict[str, Any]
    learners: dict[str, Learner]
    """Ours by name, the first in float32 with its layers unrolled."""
    torch_model: Callable[[], Any]
    """A new one of theirs, with `load` for our weights."""
    lengths: tuple[int, int]
    """Source and target tokens of a row, as `training_flops` has them."""

    @property
    def flops(self) -> float:
        """Operations of a step."""
        learner = self.learners[OURS]
        parts = training_flops(learner.model.config, learner.model.vocabulary, *self.lengths)
        causal = isinstance(learner.model.config, DecoderConfig)
        rows = len(jax.tree.leaves(learner.batch)[0])
        return rows * (sum(parts.values()) - (parts["attention scores"] / 2 if causal else 0))


def races(config: Config) -> Iterator[Race]:
    """All of them. PyTorch's modules are imported where a race begins, as the tests can do without them."""
    from benchmarks.torch_gpt import Gpt
    from benchmarks.torch_models import Bert, EncoderDecoder

    seed = config.seed
    for rows in config.rows:
        learners = {
            OURS: gpt(config.gpt, rows, seed=seed),
            OURS_SCANNED: gpt(config.gpt, rows, SCANNED, seed=seed),
            OURS_BFLOAT16: gpt(config.gpt, rows, dtype="bfloat16", seed=seed),
        }
        model = partial(Gpt, config.gpt.config(), config.gpt.vocabulary)
        yield Race({"model": "GPT", "rows": rows}, learners, model, (0, config.gpt.length))
    pairs, texts = config.pairs, config.bert
    of_pairs = {OURS: encoder_decoder(pairs, seed=seed), OURS_SCANNED: encoder_decoder(pairs, SCANNED, seed)}
    case = {"model": "encoder-decoder", "rows": pairs.rows}
    yield Race(case, of_pairs, partial(EncoderDecoder, pairs), (pairs.length, pairs.length))
    of_texts = {OURS: encoder(texts, seed=seed), OURS_SCANNED: encoder(texts, SCANNED, seed)}
    yield Race({"model": "BERT", "rows": texts.rows}, of_texts, partial(Bert, texts), (texts.length, texts.hidden))


def ours(name: str, learner: Learner, seed: int) -> Contestant:
    """A training that goes a step further with each call, and gives its loss."""
    state = jax.jit(learner.new_state)(jax.random.key(seed))
    step, batch = learner.step, jax.device_put(learner.batch)

    def run() -> Any:
        nonlocal state
        state, metrics = step(state, batch)
        return metrics["loss"]

    return Contestant(name, run)


def theirs(name: str, race: Race, params: Any, *, compiled: bool) -> Contestant:
    """PyTorch's training from the same weights."""
    torch = measure.rival("torch")

    from benchmarks.torch_gpt import decayed_groups

    model, given, adam = race.torch_model(), tensors(race.learners[OURS].batch), race.learners[OURS].optimizer
    model.load(params)
    decay = adam.weight_decay if isinstance(adam, AdamW) else 0.0
    constants = {"betas": (adam.beta1, adam.beta2), "eps": adam.epsilon, "fused": True}
    optimizer = torch.optim.AdamW(decayed_groups(model, decay), lr=1e-3, **constants)
    forward = torch.compile(model) if compiled else model

    def run() -> Any:
        loss = forward(*given)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.detach()

    return Contestant(name, run)


def tensors(batch: Any) -> list[Any]:
    """What PyTorch's model is called with: tokens, but no flags of what counts, for here all does."""
    torch = measure.rival("torch")
    if isinstance(batch, TextBatch):
        parts = [batch.tokens_BT[:, :-1], batch.tokens_BT[:, 1:]]
    else:
        parts = [part for part in batch if part.dtype != bool]
    return [torch.from_numpy(part.astype(np.int64)) for part in parts]


def verify(race: Race, params: Any) -> dict[str, float]:
    """The distance of loss and gradient from PyTorch's, for each of ours."""
    model, twin = race.torch_model(), race.torch_model()
    model.load(params)
    loss = model(*tensors(race.learners[OURS].batch))
    loss.backward()
    # The way of the weights is that of their gradients.
    expected = loss.detach(), as_one([parameter.grad for parameter in model.parameters()])
    found = {}
    for name, learner in race.learners.items():
        value, gradient = jax.jit(learner.loss_and_gradient)(params)
        twin.load(jax.device_get(gradient))
        given = value, as_one([parameter.detach() for parameter in twin.parameters()])
        tolerance = ROUNDED if name == OURS_BFLOAT16 else TOLERANCE
        found[name] = measure.agree({EAGER: expected, name: given}, tolerance)
    return found


def run(race: Race, config: Config) -> list[Row]:
    """Everyone, in turns."""
    params = jax.device_get(jax.jit(race.learners[OURS].new_state)(jax.random.key(config.seed)).params)
    distances = verify(race, params)
    print(f"{label(race.case)}: loss and gradient agree within {distances[OURS]:.1e}", flush=True)
    product, operations = matrix_product()
    contestants = [ours(name, learner, config.seed) for name, learner in race.learners.items()]
    contestants.append(theirs(EAGER, race, params, compiled=False))
    if config.compiled:
        contestants.append(theirs(COMPILED, race, params, compiled=True))
    same = [contestant.name for contestant in contestants if contestant.name != OURS_BFLOAT16]
    flops = {contestant.name: race.flops for contestant in contestants} | {MATRIX_PRODUCT: operations}
    rows = compare(race.case, [*contestants, product], config.effort, alike(TOLERANCE, *same), flops)
    rows[0]["distances"] = distances
    return rows


def measured(config: Config) -> Iterator[Row]:
    """All rows."""
    for race in races(config):
        yield from run(race, config)


def judge(rows: list[Row]) -> list[Verdict]:
    """Each figure beside its goal."""
    goals = {"GPT": GPT_STEP, "encoder-decoder": PAIR_STEP, "BERT": BERT_STEP}
    verdicts = []
    for case in cases(rows):
        shape = case[OURS]["case"]
        where = f"B {shape['rows']}"
        rival = min((name for name in (EAGER, COMPILED) if name in case), key=lambda name: times(case, name))
        verdicts.append(Verdict(goals[shape["model"]], f"{where}, {rival}", times(case, rival)))
        if OURS_BFLOAT16 in case:
            verdicts.append(Verdict(GPT_RATE, where, share(case, OURS, MATRIX_PRODUCT)))
            verdicts.append(Verdict(BFLOAT16, where, 1 / times(case, OURS_BFLOAT16)))
        verdicts.append(Verdict(SCAN, label(shape), times(case, OURS_SCANNED)))
    return verdicts


def main(config: Config) -> dict[str, Any]:
    """Measures, judges, prints the tables and writes JSON; returns what the JSON holds."""
    compute_here()  # As `jaxformer train` does.
    config = quickened(config) if config.quick else config
    measure.rival("torch")
    return conduct("train_step", __doc__, config, measured(config), judge)


if __name__ == "__main__":
    command(Config, main, __doc__)
