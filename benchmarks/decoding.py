"""How many tokens a second does a GPT-2 of 124 million weights write here, and how far is that from reading them?

Contestants of the same random weights, each of which writes the likeliest token, from the same random prompt, in
float32: this library's `generate` with its layers apart (`Decoder.apart`) and with its layers scanned,
`GPT2LMHeadModel.generate` of transformers, which reads what `Bundle.save` wrote, and a loop by hand in PyTorch over a
cache that is made once. All must write the same tokens before they are timed, prompt and all.

Every token needs all weights once, the table of positions aside, so no loop is faster than the memory. What part of its
rate is reached is told by a sum over a large array, of JAX or of PyTorch, whichever is faster, in the same turns.

Run it on two cores: every contestant has a thread for each core that the process may use.

    python -m benchmarks.decoding [--quick] [--check]
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from benchmarks.comparison import Row, alike, cases, compare, table, times
from benchmarks.goals import TOYS, Asked, Goal, Verdict, command, conduct
from benchmarks.steps import SCANNED, GptShape, gpt
from jaxformer.analysis.timing import Contestant
from jaxformer.config.sampling import Sampling
from jaxformer.decoding.generate import generate
from jaxformer.recipes.bundle import Bundle

OURS, OURS_SCANNED = "jaxformer", "jaxformer, scanned"
HAND_WRITTEN, TRANSFORMERS = "torch, by hand", "transformers"
READS = ("sum of an array, jax", "sum of an array, torch")
LIKELIEST = Sampling(temperature=0.0)

ONE = Goal("one sequence, against transformers.generate", at_least=2.5)
ONE_BY_HAND = Goal("one sequence, against torch by hand", at_least=1.7)
ONE_OF_READING = Goal("one sequence, of the rate at which memory is read", at_least=75, unit="%")
MANY = Goal("16 sequences, against transformers.generate", at_least=3)


@dataclass(frozen=True)
class Config(Asked):
    """Shapes and effort of the benchmark."""

    seconds: float = 60.0
    """Time to spend on each comparison; five rounds are taken in any case."""
    gpt: GptShape = GptShape(12, 768, 12, 1024, 50_257)
    batches: tuple[int, ...] = (1, 16)
    prompt: int = 16
    """Tokens that are read first; a part of what is timed."""
    count: int = 64
    """Tokens written."""
    read_bytes: int = 2**29
    """Size of the array that is summed."""

    def __post_init__(self) -> None:
        if self.prompt + self.count > self.gpt.length:
            raise ValueError(
                f"prompt and count must fit the context of {self.gpt.length} tokens, "
                f"got prompt={self.prompt}, count={self.count}"
            )


def quickened(config: Config) -> Config:
    """The same questions of small shapes."""
    shape = GptShape(2, 32, 2, 32, 101)
    return replace(config, gpt=shape, batches=(1, 2), prompt=5, count=6, read_bytes=2**20, seconds=0.1, out=TOYS)


def weights(config: Config) -> Any:
    """Random ones, alike for all, as numpy arrays."""
    learner = gpt(config.gpt, 1, SCANNED)
    return jax.device_get(jax.jit(learner.new_state)(jax.random.key(config.seed)).params)


def prompts(batch: int, config: Config) -> np.ndarray:
    """int32 [B, T]."""
    return np.random.default_rng(config.seed).integers(0, config.gpt.vocabulary, (batch, config.prompt), np.int32)


def ours(name: str, params: Any, tokens_BT: np.ndarray, config: Config) -> Contestant:
    """`generate`, its layers apart or scanned."""
    model = gpt(config.gpt, 1, SCANNED).model
    model, params = (model, params) if name == OURS_SCANNED else model.apart(params)
    prompt_BT, length_B = jnp.asarray(tokens_BT), jnp.full(len(tokens_BT), config.prompt, jnp.int32)

    def run() -> jax.Array:
        return generate(model, params, prompt_BT, length_B, count=config.count, sampling=LIKELIEST).tokens_BN

    return Contestant(name, run)


def by_hand(params: Any, tokens_BT: np.ndarray, config: Config) -> Contestant:
    """The loop of `torch_gpt.py`."""
    torch = measure.rival("torch")

    from benchmarks.torch_gpt import Gpt

    model, tokens = Gpt(config.gpt.config(), config.gpt.vocabulary), torch.from_numpy(tokens_BT.astype(np.int64))
    model.load(params)
    return Contestant(HAND_WRITTEN, partial(model.generate, tokens, config.count))


def of_transformers(params: Any, config: Config) -> Any:
    """Their model with our weights, by way of a folder that both know."""
    measure.rival("torch")
    transformers = measure.rival("transformers")
    bundle = Bundle(Path("weights"), gpt(config.gpt, 1, SCANNED).model, params)
    with tempfile.TemporaryDirectory() as folder:
        bundle.save(folder)
        return transformers.GPT2LMHeadModel.from_pretrained(folder).eval()


def theirs(model: Any, tokens_BT: np.ndarray, config: Config) -> Contestant:
    """`generate` of transformers, which has no stop token to meet."""
    torch = measure.rival("torch")
    tokens = torch.from_numpy(tokens_BT.astype(np.int64))
    options = {"max_new_tokens": config.count, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    everything = torch.ones_like(tokens)

    def run() -> Any:
        return model.generate(tokens, attention_mask=everything, **options)[:, config.prompt :]

    return Contestant(TRANSFORMERS, run)


def readers(config: Config) -> list[Contestant]:
    """Sums over an array that no cache holds."""
    torch = measure.rival("torch")
    ours, theirs = jnp.ones(config.read_bytes // 4, jnp.float32), torch.ones(config.read_bytes // 4)
    return [
        Contestant(name, run) for name, run in zip(READS, (partial(jax.jit(jnp.sum), ours), theirs.sum), strict=True)
    ]


def read_bytes_per_token(params: Any) -> int:
    """Bytes of all weights but the positions', of which a token needs one row."""
    total = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    return total - params["params"]["position"]["position"].nbytes


def written(params: Any, model: Any, batch: int, config: Config) -> list[Row]:
    """One batch: everyone, in turns."""
    tokens_BT, on_device = prompts(batch, config), jax.device_put(params)
    writers = [ours(name, on_device, tokens_BT, config) for name in (OURS, OURS_SCANNED)]
    writers += [by_hand(params, tokens_BT, config), theirs(model, tokens_BT, config)]
    check = alike(0.0, *(writer.name for writer in writers))
    rows = compare({"B": batch}, [*writers, *readers(config)], config.effort, check)
    for row in rows:
        if row["contestant"] in READS:
            row["bytes_per_second"] = config.read_bytes / row["seconds"]["median"]
        else:
            row["tokens_per_second"] = batch * config.count / row["seconds"]["median"]
    rows[0]["bytes"] = read_bytes_per_token(params) * config.count
    rows[0]["read_bytes"] = config.read_bytes
    return rows


def measured(config: Config) -> Iterator[Row]:
    """All rows."""
    params = weights(config)
    model = of_transformers(params, config)
    for batch in config.batches:
        yield from written(params, model, batch, config)


def judge(rows: list[Row]) -> list[Verdict]:
    """One sequence, and many."""
    verdicts = []
    for case in cases(rows):
        first, where = case[OURS], f"B {case[OURS]['case']['B']}"
        if first["case"]["B"] > 1:
            verdicts.append(Verdict(MANY, where, times(case, TRANSFORMERS)))
            continue
        reader = min(READS, key=lambda name: times(case, name))
        reached = 100 * first["bytes"] / first["read_bytes"] * times(case, reader)
        verdicts.append(Verdict(ONE, where, times(case, TRANSFORMERS)))
        verdicts.append(Verdict(ONE_BY_HAND, where, times(case, HAND_WRITTEN)))
        verdicts.append(Verdict(ONE_OF_READING, where, reached))
    return verdicts


def tables(rows: list[Row]) -> str:
    """Markdown: the seconds of a whole text, and tokens or bytes a second."""
    rates = [
        [
            f"B {row['case']['B']}",
            row["contestant"],
            f"{row['tokens_per_second']:.1f} tokens/s"
            if "tokens_per_second" in row
            else f"{row['bytes_per_second'] / 1e9:.1f} GB/s",
        ]
        for row in rows
    ]
    return f"{table(rows)}\n\n{measure.table(['case', 'contestant', 'rate'], rates)}"


def main(config: Config) -> dict[str, Any]:
    """Measures, judges, prints the tables and writes JSON; returns what the JSON holds."""
    config = quickened(config) if config.quick else config
    for module in measure.RIVALS:
        measure.rival(module)
    return conduct("decoding", __doc__, config, measured(config), judge, tables)


if __name__ == "__main__":
    command(Config, main, __doc__)
