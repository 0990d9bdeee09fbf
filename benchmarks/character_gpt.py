"""How long does a small GPT take to learn Shakespeare's characters here, and how long with PyTorch?

The model and the recipe are those of nanoGPT's small CPU setting (Karpathy 2022, README): 4 layers of width 128, 4
heads, rows of 64 characters, 12 rows a step, no dropout, 2,000 steps of AdamW with a warm-up of 100 and a cosine from
1e-3 to 1e-4, which its author reports to reach a loss of 1.88 on held-out text.

The rival is written as one would write it in PyTorch: one product for queries, keys and values,
`scaled_dot_product_attention`, fused AdamW; once step by step, and once through `torch.compile` where a C++ compiler is
at hand. All start from the same weights, see the same rows in the same order and take the same steps, so their losses
must agree; what differs is the time. They take turns of `turn` steps in one process with the same number of threads,
so that a busy minute falls on all of them. Time is that of the steps with their data, compilation told apart; looking
at held-out text is left out.

What the figures do not show: larger models, where products of matrices outweigh all else on both sides; devices other
than this one; and a loss that another recipe would reach sooner.

    python -m benchmarks.character_gpt --data FILE
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from benchmarks import measure
from benchmarks.picture import Line, in_corner, linear, panels
from jaxformer.analysis.hardware import summary
from jaxformer.config.causal_lm import CausalLmConfig
from jaxformer.config.decoders import gpt2
from jaxformer.config.model import Layers
from jaxformer.config.text import Characters
from jaxformer.config.text_data import Windows
from jaxformer.config.training import AdamW, Cosine, OptimizationConfig
from jaxformer.data.text import load_text
from jaxformer.recipes.causal_lm import CausalLmTask
from jaxformer.text.kinds import train_tokenizer
from jaxformer.training.optimizers import schedule

TOLERANCE = 2e-4
"""Relative difference of the first losses on held-out text at which the contestants count as different models."""


@dataclass(frozen=True)
class Config:
    """What is trained, and how far."""

    data: str
    """The text."""
    steps: int = 2000
    turn: int = 50
    """Steps that each contestant takes before the next one has its turn."""
    look: int = 250
    """Steps between looks at held-out text."""
    compiled: bool = True
    """Let PyTorch run compiled too."""
    quick: bool = False
    """Less of everything, to see that it runs."""
    out: Path = Path(__file__).parent / "results"


class Contestant:
    """A training that can be taken further, and its clock."""

    def __init__(
        self, name: str, step: Callable[[Any], Any], wait: Callable[[], Any], loss: Callable[[], float]
    ) -> None:
        self.name, self._step, self._wait, self.loss = name, step, wait, loss
        self.seconds, self.first = 0.0, 0.0
        self.turns: list[float] = []

    def advance(self, batches: Iterator[Any], count: int) -> None:
        """Takes so many steps. The first one of all, which compiles, has a clock of its own."""
        if not self.first:
            began = time.perf_counter()
            self._step(next(batches))
            self._wait()
            self.first, count = time.perf_counter() - began, count - 1
        began = time.perf_counter()
        for _ in range(count):
            self._step(next(batches))
        self._wait()
        took = time.perf_counter() - began
        self.seconds += took
        self.turns.append(took / count)


def recipe(config: Config) -> CausalLmConfig:
    """The run that is timed. Four layers compile in seconds without a scan, and a step is then a tenth faster."""
    return CausalLmConfig(
        data=config.data,
        model=replace(gpt2(128, 4, 4, context=64, dropout=0.0), layers=Layers(unroll=True)),
        tokenizer=Characters(),
        batches=Windows(length=64, rows=12),
        optimization=OptimizationConfig(AdamW(0.9, 0.99, 1e-8, 0.1), Cosine(1e-3, 100, 0.1)),
        steps=config.steps,
    )


def ours(task: CausalLmTask) -> tuple[Contestant, Any]:
    """This library, and the weights that all begin with."""
    state = task.new_state()
    params = jax.device_get(state.params)
    began = time.perf_counter()
    task.compile()
    compilation = time.perf_counter() - began
    held = [state, None]

    def step(batch: Any) -> None:
        held[0], held[1] = task.step(held[0], batch)

    contestant = Contestant(
        "jaxformer",
        step,
        lambda: jax.block_until_ready(held[1]),
        lambda: task.validate(0, held[0].params).metrics["valid_loss"],
    )
    contestant.first = compilation
    return contestant, params


def theirs(task: CausalLmTask, params: Any, compiled: bool) -> Contestant:
    """PyTorch, from the same weights."""
    torch = measure.rival("torch")

    from benchmarks.torch_gpt import Gpt, decayed_groups

    model = Gpt(task.config.model, task.tokenizer.size)
    model.load(params)
    optimizer = torch.optim.AdamW(decayed_groups(model, 0.1), lr=1e-3, betas=(0.9, 0.99), eps=1e-8, fused=True)
    rate = schedule(task.config.optimization.schedule, task.config.steps, task.config.model.width)
    rates = np.array([rate(step) for step in range(task.config.steps)]).tolist()
    forward = torch.compile(model) if compiled else model
    taken = 0

    def step(batch: Any) -> None:
        nonlocal taken
        for group in optimizer.param_groups:
            group["lr"] = rates[taken]
        tokens = torch.from_numpy(batch.tokens_BT.astype(np.int64))
        loss = forward(tokens[:, :-1], tokens[:, 1:])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        taken += 1

    def held_out() -> float:
        total = 0.0
        with torch.no_grad():
            for batch in task.valid.batches:
                tokens = torch.from_numpy(batch.tokens_BT.astype(np.int64))
                costs_BT = model.costs(tokens[:, :-1], tokens[:, 1:])
                total += float(costs_BT[torch.from_numpy(batch.counted_BT)].sum())
        return total / task.valid.tokens

    return Contestant("PyTorch, compiled" if compiled else "PyTorch", step, lambda: None, held_out)


def race(config: Config, task: CausalLmTask, contestants: list[Contestant]) -> list[dict[str, Any]]:
    """All of them to the end, in turns; a row for each look at held-out text."""
    rows = [_looks(contestants, 0)]
    away = max(abs(row["loss"] - rows[0][0]["loss"]) / rows[0][0]["loss"] for row in rows[0])
    if not away <= TOLERANCE:
        raise measure.Disagreement(f"the first losses must agree within {TOLERANCE:g}, got a difference of {away:.2g}")
    for start in range(0, config.steps, config.turn):
        count = min(config.turn, config.steps - start)
        order = start // config.turn % len(contestants)
        for contestant in contestants[order:] + contestants[:order]:
            contestant.advance((task.batches[i] for i in range(start, start + count)), count)
        done = start + count
        if done % config.look == 0 or done == config.steps:
            rows.append(_looks(contestants, done))
            shown = ", ".join(f"{row['name']} {row['loss']:.4f} in {row['seconds']:.1f} s" for row in rows[-1])
            print(f"step {done}: {shown}", flush=True)
    return [row for look in rows for row in look]


def _looks(contestants: list[Contestant], step: int) -> list[dict[str, Any]]:
    return [{"name": c.name, "step": step, "seconds": c.first + c.seconds, "loss": c.loss()} for c in contestants]


def results(contestants: list[Contestant], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is left of each: the last loss, the whole time, the first step or compilation, and a step's time."""
    found = []
    for contestant in contestants:
        last = [row for row in rows if row["name"] == contestant.name][-1]
        low, median, high = (float(q) for q in np.quantile(contestant.turns, [0.25, 0.5, 0.75]))
        found.append({**last, "first_seconds": contestant.first, "step_median": median, "step_quartiles": [low, high]})
    return found


def table(found: list[dict[str, Any]]) -> str:
    """The results as a markdown table."""
    rows = [
        [
            row["name"],
            f"{row['loss']:.3f}",
            f"{row['seconds']:.0f} s",
            f"{row['first_seconds']:.1f} s",
            f"{1e3 * row['step_median']:.1f} ms",
            f"{1e3 * row['step_quartiles'][0]:.1f}–{1e3 * row['step_quartiles'][1]:.1f}",
        ]
        for row in found
    ]
    return measure.table(["", "loss", "all", "of it compiling", "a step", "its quartiles"], rows)


def draw(document: dict[str, Any], path: Path) -> None:
    """Held-out loss over seconds."""
    lines = {}
    for result in document["results"]:
        seen = [row for row in document["rows"] if row["name"] == result["name"] and row["step"]]
        x, y = [row["seconds"] for row in seen], [row["loss"] for row in seen]
        lines[result["name"]] = Line(x, y, y, y)
    heading = f"{document['config']['steps']:,} steps, 4 layers of width 128, on {summary(document['environment'])}"
    panels(
        path,
        [[(heading, lines)]],
        title="Shakespeare by characters",
        x_label="seconds, compilation included",
        y_label="loss on held-out text (nats a character)",
        scales=linear,
        names=in_corner,
    )


def main(config: Config) -> dict[str, Any]:
    """Trains, prints the table, and writes JSON and picture; returns what the JSON holds."""
    if config.quick:
        config = replace(config, steps=20, turn=5, look=10, compiled=False)
    measure.rival("torch")
    asked, environment = recipe(config), measure.environment()
    corpus = load_text(asked.data)
    task = CausalLmTask(asked, corpus, train_tokenizer(asked.tokenizer, [*corpus.train, *corpus.valid]))
    first, params = ours(task)
    contestants = [
        first,
        *(theirs(task, params, compiled) for compiled in ([False, True] if config.compiled else [False])),
    ]
    rows = race(config, task, contestants)
    document = {
        "benchmark": "character_gpt",
        "question": (__doc__ or "").splitlines()[0],
        "environment": environment,
        "config": {**asdict(config), "data": Path(config.data).name, "out": None},
        "results": results(contestants, rows),
        "rows": rows,
    }
    path = config.out / f"character_gpt-{measure.device_name()}.json"
    measure.write(path, document)
    draw(document, path.with_suffix(".png"))
    print(f"\n{table(document['results'])}\n\n{path}\n{path.with_suffix('.png')}")
    return document


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
