"""One training step: a pure function of state and batch."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxformer.config.training import ApplySpikes, Average, Ema, NoAverage, Spikes
from jaxformer.objectives import Objective, Total
from jaxformer.training.balance import balanced
from jaxformer.training.guard import applicable
from jaxformer.training.state import TrainState

Metrics = dict[str, Array]
NO_BIASES: Mapping[str, float] = MappingProxyType({})
Step = Callable[[TrainState, Any], tuple[TrainState, Metrics]]


def make_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    average: Average | None = None,
    accumulate: int = 1,
    bias_rates: Mapping[str, float] = NO_BIASES,
    spikes: Spikes | None = None,
) -> Step:
    """(state, batch) → (state after one update, metrics).

    Where the loss or a gradient is not finite, or a spike as `spikes` has it (the optimizer is then one of
    `guard.remembering`), nothing of the state changes, to the last bit, but the number of the step, which counts
    batches; schedules count updates.

    The loss is the mean over all tokens of the batch. With `accumulate` > 1 the rows of the batch are taken in that
    many parts, one after the other, and the mean is still over all of them. Metrics are float32 scalars: loss, nll
    (nats per token), accuracy, gradient_norm (before clipping), tokens, skipped (1 where the step was left out), and
    where there are experts busiest (the load of the busiest over the mean load). `bias_rates` are those of `balance`.
    To be jitted with the state donated; may be mapped over states stacked on a leading axis.
    """
    average, spikes = average or NoAverage(), spikes or ApplySpikes()
    optimizer = optax.with_extra_args_support(optimizer)

    def gradient(params: Any, batch: Any, key: Array) -> tuple[Any, Total]:
        def loss(params: Any) -> tuple[Array, Total]:
            total = objective(params, batch, key)
            return total.costs.loss, total

        return jax.grad(loss, has_aux=True)(params)

    def accumulated(params: Any, batch: Any, key: Array) -> tuple[Any, Total]:
        if accumulate == 1:
            return gradient(params, batch, key)

        def add(sums: Any, part_and_key: Any) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, sums, gradient(params, *part_and_key)), None

        first = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(gradient, params, batch, key))
        return jax.lax.scan(add, first, micro_batches(batch, key, accumulate))[0]

    def step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        sums, total = accumulated(state.params, batch, jax.random.fold_in(state.key, state.step))
        tokens = jnp.maximum(total.tokens, 1.0)
        gradients = jax.tree.map(lambda g: g / tokens, sums)
        seen_2 = jnp.stack([total.costs.loss / tokens, optax.tree.norm(gradients)])

        def updated(params: Any, optimizer_state: Any, kept: Any) -> tuple[Any, Any, Any]:
            updates, optimizer_state = optimizer.update(gradients, optimizer_state, params, seen_2=seen_2)
            params = balanced(optax.apply_updates(params, updates), total.loads or {}, bias_rates)
            return params, optimizer_state, _averaged(average, kept, params, state.step)

        apply = applicable(seen_2, state.optimizer, spikes)
        # A branch rather than a choice between two states, which would both be in memory.
        before = state.params, state.optimizer, state.average
        params, optimizer_state, kept = jax.lax.cond(apply, updated, lambda *same: same, *before)
        metrics = {
            "loss": seen_2[0],
            "nll": total.costs.nll / tokens,
            "accuracy": total.costs.correct / tokens,
            "gradient_norm": seen_2[1],
            "tokens": total.tokens,
            "skipped": 1.0 - apply.astype(jnp.float32),
        }
        if total.loads:
            metrics["busiest"] = jnp.max(jnp.stack([_busiest(load_E) for load_E in total.loads.values()]))
        return TrainState(state.step + 1, params, optimizer_state, kept, state.key), metrics

    return step


def _busiest(load_E: Array) -> Array:
    """The load of the busiest expert of any layer, over the mean load, which is the same in all of them."""
    return jnp.max(load_E) / jnp.mean(load_E.astype(jnp.float32))


def micro_batches(batch: Any, key: Array, parts: int) -> tuple[Any, Array]:
    """The parts of a batch and a key for each, stacked on a leading axis. Raises ValueError where they do not come out
    even.
    """
    return jax.tree.map(lambda x: _split(x, parts), batch), jax.random.split(key, parts)


def _split(rows: Array, parts: int) -> Array:
    if rows.shape[0] % parts:
        raise ValueError(f"accumulate must divide the rows of a batch, got accumulate={parts}, rows={rows.shape[0]}")
    # Neighbouring rows go to different parts, which leaves each device its own rows when the batch is sharded.
    return jnp.swapaxes(rows.reshape(rows.shape[0] // parts, parts, *rows.shape[1:]), 0, 1)


def _averaged(average: Average, kept: Any, params: Any, step: Array) -> Any:
    match average:
        case NoAverage():
            return None
        case Ema(decay):
            rate = 1.0 - jnp.minimum(decay, (1.0 + step) / (10.0 + step))
            return optax.incremental_update(params, kept, rate)


class ShapedStep:
    """A training step compiled ahead for every shape of batch, its state donated as `jitted` says.

    What is `frozen` comes behind the batch, an argument since a constant of a program is compiled with it.
    """

    def __init__(
        self, jitted: Any, abstract_state: TrainState, abstract_batches: Sequence[Any], frozen: Any = None
    ) -> None:
        lowered = [jitted.lower(abstract_state, batch, frozen) for batch in abstract_batches]
        # The compiler leaves Python's lock to others, so the shapes are compiled side by side.
        with ThreadPoolExecutor() as pool:
            compiled = pool.map(lambda program: program.compile(), lowered)
        self._compiled = {_shapes(batch): program for batch, program in zip(abstract_batches, compiled, strict=True)}

    @property
    def memory(self) -> tuple[int, int]:
        """Bytes of what the step for the largest batch is given, and of what the hungriest needs besides to work in, by
        the compiler's own account. Zeros where it gives none.
        """
        accounts = [program.memory_analysis() for program in self._compiled.values()]
        known = [account for account in accounts if account is not None]
        given = max((account.argument_size_in_bytes for account in known), default=0)
        return given, max((account.temp_size_in_bytes for account in known), default=0)

    def __call__(self, state: TrainState, batch: Any, frozen: Any = None) -> tuple[TrainState, Metrics]:
        return self._compiled[_shapes(batch)](state, batch, frozen)


def _shapes(batch: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(leaf.shape for leaf in jax.tree.leaves(batch))
