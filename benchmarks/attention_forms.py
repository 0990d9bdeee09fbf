"""How fast is causal attention here, beside PyTorch's and JAX's own and beside what the processor can multiply?

Contestants, of the same queries, keys and values in float32: `jaxformer.ops.attention.attention`,
`torch.nn.functional.scaled_dot_product_attention` and `jax.nn.dot_product_attention`. Each reads arrays that lie as it
likes them, [B, T, N, H] for JAX and [B, N, T, H] for PyTorch, and has a thread for each core that the process may use.
`forward` is the output alone, `training` the output and, of a given cotangent, the gradients of all three. All must
agree in these before they are timed.

The operations of causal attention count as half of those over the whole [T, T] table: no path need compute the other
half. What part of the rate of a large matrix product they reach is measured in the same turns.

For information: packed documents, of an eighth of the row each, which PyTorch reads by a table of [T, T]; and a window
in training. `jax.nn` is left out where its table of scores would be larger than `largest_table`.

    python -m benchmarks.attention_forms [--quick] [--check]
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from benchmarks.comparison import MATRIX_PRODUCT, Row, alike, cases, compare, matrix_product, share, times
from benchmarks.goals import TOYS, Asked, Goal, Verdict, command, conduct
from jaxformer.analysis.timing import Contestant
from jaxformer.ops.attention import attention
from jaxformer.ops.attention.masks import Causal, Mask, Segments, Window

OURS, SDPA, JAX_NN, WINDOWED = "jaxformer", "torch SDPA", "jax.nn", "jaxformer, window"
TOLERANCE = 1e-4
"""Relative L2 distance at which results count as different."""

FORWARD = Goal("causal attention forward, against torch SDPA", at_least=1.3)
TRAINING = Goal("forward and backward, against torch SDPA", at_least=1.2)
LONG_TRAINING = Goal("forward and backward of 8,192, against torch SDPA", at_least=1.0)
RATE = Goal("forward, of the matrix-product rate", at_least=75, unit="%")
WINDOW = Goal("a window of 512 in 8,192, against full causal", at_least=5)


@dataclass(frozen=True)
class Config(Asked):
    """Shapes and effort of the benchmark."""

    forward: tuple[int, ...] = (128, 256, 512, 1024, 2048, 4096, 8192)
    """Sequence lengths of the forward pass."""
    training: tuple[int, ...] = (128, 256, 512, 1024, 2048, 8192)
    """Sequence lengths of forward and backward pass."""
    packed: int = 4096
    """Sequence length of the packed documents."""
    window: int = 512
    """Positions of the window, in the longest sequence."""
    heads: int = 8
    head_width: int = 64
    largest_table: int = 2**29
    """Most bytes of scores that a contestant which holds all of them may need."""


def quickened(config: Config) -> Config:
    """The same questions of small shapes."""
    return replace(
        config, forward=(16, 32), training=(16, 32), packed=32, window=8, heads=2, head_width=8, seconds=0.1, out=TOYS
    )


Arrays = tuple[np.ndarray, ...]
"""Queries, keys, values and the cotangent of what is read, each [1, T, N, H]."""


def arrays(length: int, config: Config) -> Arrays:
    shape = (4, 1, length, config.heads, config.head_width)
    return tuple(np.random.default_rng(config.seed).standard_normal(shape, np.float32))


def flops(mode: str, length: int, config: Config) -> float:
    """Operations of causal attention: two products forwards and five backwards, where scores are computed anew."""
    products = 2 if mode == "forward" else 7
    return products * 2 * length**2 / 2 * config.heads * config.head_width


def in_jax(name: str, attend: Callable[..., jax.Array], mode: str, of: Arrays) -> Contestant:
    """A contestant of the function (q, k, v) → o."""

    def train(q: jax.Array, k: jax.Array, v: jax.Array, cotangent: jax.Array) -> Any:
        o, backward = jax.vjp(attend, q, k, v)
        return o, *backward(cotangent)

    given = jax.device_put(of)
    run = partial(jax.jit(train), *given) if mode == "training" else partial(jax.jit(attend), *given[:3])
    return Contestant(name, run)


def ours(name: str, mask: Mask, mode: str, of: Arrays) -> Contestant:
    return in_jax(name, partial(attention, mask=mask), mode, of)


def theirs(mode: str, of: Arrays, table_TS: np.ndarray | None = None) -> Contestant:
    """PyTorch: causal, or by a table of who may read whom."""
    torch = measure.rival("torch")
    q, k, v, cotangent = (torch.from_numpy(x).transpose(1, 2).contiguous() for x in of)
    mask = {"is_causal": True} if table_TS is None else {"attn_mask": torch.tensor(table_TS)}
    attend = partial(torch.nn.functional.scaled_dot_product_attention, **mask)

    def forward() -> Any:
        with torch.no_grad():
            return attend(q, k, v)

    def train() -> Any:
        inputs = [x.requires_grad_() for x in (q, k, v)]
        o = attend(*inputs)
        return o.detach(), *torch.autograd.grad(o, inputs, cotangent)

    return Contestant(SDPA, train if mode == "training" else forward)


def laid_out(results: dict[str, Any]) -> dict[str, Any]:
    """The results with PyTorch's as [B, T, N, H]."""
    turned = jax.tree.map(lambda x: x.transpose(1, 2).numpy(), results[SDPA])
    return {name: turned if name == SDPA else result for name, result in results.items()}


def check(results: dict[str, Any]) -> float:
    """The distance of the causal ones; a window reads something else, and is compared where it is alone."""
    same = [name for name in results if name not in (MATRIX_PRODUCT, WINDOWED)]
    return alike(TOLERANCE, *same)(laid_out(results))


def causal(mode: str, length: int, config: Config) -> list[Row]:
    """One length: everyone, with the window in the longest one."""
    of, (product, operations) = arrays(length, config), matrix_product()
    contestants = [ours(OURS, Causal(), mode, of), theirs(mode, of)]
    if 4 * config.heads * length**2 <= config.largest_table:
        contestants.append(in_jax(JAX_NN, partial(jax.nn.dot_product_attention, is_causal=True), mode, of))
    if length == max(config.forward):
        contestants.append(ours(WINDOWED, Causal() & Window(config.window), mode, of))
    counted = {OURS: flops(mode, length, config), MATRIX_PRODUCT: operations}
    return compare({"mode": mode, "T": length}, [*contestants, product], config.effort, check, counted)


def packed(mode: str, config: Config) -> list[Row]:
    """Documents side by side, each of which reads itself."""
    T, of = config.packed, arrays(config.packed, config)
    ids_T = np.arange(T) * 8 // T
    mask = Causal() & Segments(jnp.asarray(ids_T))
    table_TS = np.asarray(mask.table(jnp.arange(T), jnp.arange(T)))
    contestants = [ours(OURS, mask, mode, of), theirs(mode, of, table_TS)]
    return compare({"mode": f"packed {mode}", "T": T}, contestants, config.effort, check)


def verify_window(config: Config) -> float:
    """The distance of the window from PyTorch's attention by a table, of a length that is read chunk by chunk."""
    T = min(max(config.forward), 2 * config.window)
    of, mask = arrays(T, config), Causal() & Window(config.window)
    table_TS = np.asarray(mask.table(jnp.arange(T), jnp.arange(T)))
    pair = [ours(OURS, mask, "training", of), theirs("training", of, table_TS)]
    return check({contestant.name: contestant.run() for contestant in pair})


def measured(config: Config) -> Iterator[Row]:
    """All rows."""
    distance = verify_window(config)
    print(f"a window agrees with PyTorch's by a table within {distance:.1e}", flush=True)
    for mode, lengths in {"forward": config.forward, "training": config.training}.items():
        for length in lengths:
            yield from causal(mode, length, config)
        yield from packed(mode, config)


def judge(rows: list[Row]) -> list[Verdict]:
    """Each length by itself."""
    verdicts = []
    for case in cases(rows):
        mode, T = case[OURS]["case"].values()
        where = f"T {T:,}"
        if mode == "forward" and T <= 4096:
            verdicts.append(Verdict(FORWARD, where, times(case, SDPA)))
        if mode == "forward" and T >= 4096:
            verdicts.append(Verdict(RATE, where, share(case, OURS, MATRIX_PRODUCT)))
        if mode == "training":
            verdicts.append(Verdict(TRAINING if T <= 2048 else LONG_TRAINING, where, times(case, SDPA)))
        if WINDOWED in case:
            verdicts.append(Verdict(WINDOW, f"{mode}, {where}", 1 / times(case, WINDOWED)))
    return verdicts


def main(config: Config) -> dict[str, Any]:
    """Measures, judges, prints the tables and writes JSON; returns what the JSON holds."""
    config = quickened(config) if config.quick else config
    measure.rival("torch")
    return conduct("attention_forms", __doc__, config, measured(config), judge)


if __name__ == "__main__":
    command(Config, main, __doc__)
