"""Many runs in one compiled program, so that a claim can have an error bar."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

Mapping = Callable[[Callable[..., Any]], Callable[..., Any]]
"""A function of one member → the same function of all members, stacked on a leading axis: `jax.vmap`, `one_by_one`."""


def one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """The members in turn, as `jax.lax.map` takes them: each with the plain products that a run alone would have."""
    return lambda *members: jax.lax.map(lambda member: function(*member), members)


def natural_mapping() -> Mapping:
    """What suits JAX's default device: members one by one on a CPU, side by side where the device is wide.

    On two cores, batched products are so slow that eight small members side by side were measured to cost 9 to 13
    steps of one, and one by one 6.4 to 9.
    """
    return one_by_one if jax.default_backend() == "cpu" else jax.vmap


def population(step: Callable[..., Any], mapping: Mapping | None = None) -> Callable[..., Any]:
    """A function of one run, such as a training step, as a function of many: states, batches → states, metrics.

    Every array in its arguments and results gets a leading axis, of the same size in all of them: one entry for each
    member. `mapping` says how they are computed, `natural_mapping()` unless given; the results are those of separate
    runs, up to the rounding of sums in another order. To be jitted with the states donated, as one step would be.
    """
    return (mapping or natural_mapping())(step)


def history(
    step: Callable[..., Any],
    look: Callable[..., Any],
    states: Any,
    batches: Iterable[Any],
    held_out: Any,
    every: int,
    mapping: Mapping | None = None,
) -> tuple[Any, Any]:
    """What `look(state, held_out)` sees of each member before its first `step(state, batch)` and after each `every`-th.

    Step and look are functions of one member; states, batches and held_out have the leading axis of members. Returns
    NumPy arrays [looks, members, ...], and the last states. The states given are consumed.
    """
    step = jax.jit(population(step, mapping), donate_argnums=0)
    look = jax.jit(population(look, mapping))
    seen = [look(states, held_out)]
    for done, batch in enumerate(batches, 1):
        states, _ = step(states, batch)
        if done % every == 0:
            seen.append(look(states, held_out))
    return jax.tree.map(lambda *looks: np.stack(looks), *jax.device_get(seen)), states
