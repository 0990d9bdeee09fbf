"""Where a number that is not finite comes from: one batch run once more, with every module watched."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxformer.objectives import Objective


@dataclass(frozen=True)
class Call:
    """What a module was given and gave, each without NaN and infinities or not."""

    path: str
    turn: int
    """Which run of the same place in the program it was: in a stack of layers, the layer."""
    sound_in: bool
    sound_out: bool


def first_unsound(objective: Objective, params: Any, batch: Any, key: Array | None) -> str | None:
    """The first place in forward and backward pass with a number that is not finite, in words; None without any.

    That is a parameter; or the innermost module that gives what is not finite for what is; or the loss; or the gradient
    of a parameter, that of the module which is called last.
    """
    if path := next(iter(_unsound_leaves(params)), None):
        return f"the parameters {path}"
    calls, loss, gradients = _watched(objective, params, batch, key)
    if (origin := _origin(calls)) is not None:
        return f"what {_named(origin, calls)} gives"
    if not np.isfinite(loss):
        return "the loss, of outputs that are finite"
    if paths := _unsound_leaves(gradients):
        order = {call.path: number for number, call in enumerate(calls)}
        return f"the gradient of {max(paths, key=lambda path: _last_call(path, order))}"
    return None


def _watched(objective: Objective, params: Any, batch: Any, key: Array | None) -> tuple[list[Call], float, Any]:
    """The calls of all modules in the order in which they end, the summed loss and its gradient."""
    calls: list[Call] = []
    turns: Counter[int] = Counter()
    places = count()
    # On several devices jax keeps no order among callbacks, and a layer may then be told as its neighbour.
    ordered = len(jax.tree.leaves(params)[0].devices()) == 1

    def note(path: str, place: int, sound_in: Any, sound_out: Any) -> None:
        turns[place] += 1
        calls.append(Call(path, turns[place], bool(sound_in), bool(sound_out)))

    def watch(method: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        out = method(*args, **kwargs)
        if _floats(out):
            # Minus infinity is a way to say what may not be read, and as such an honest argument.
            sound_in = _all(lambda x: ~(jnp.isnan(x) | jnp.isposinf(x)), (args, kwargs))
            path = "/".join(context.module.path)
            sound = sound_in, _all(jnp.isfinite, out)
            jax.debug.callback(partial(note, path, next(places)), *sound, ordered=ordered)
        return out

    def loss(params: Any, batch: Any) -> Array:
        return objective(params, batch, key).costs.loss

    def forward(params: Any, batch: Any) -> Array:
        with nn.intercept_methods(watch):
            return loss(params, batch)

    value = float(jax.jit(forward)(params, batch))
    jax.effects_barrier()
    return calls, value, jax.jit(jax.grad(loss))(params, batch)


def _origin(calls: list[Call]) -> Call | None:
    """The innermost module that gives what is not finite for what is; where none is so, the first that ended."""
    unsound = [call for call in calls if not call.sound_out]
    makers = [call for call in unsound if call.sound_in]
    innermost = [call for call in makers if not any(_inside(other.path, call.path) for other in makers)]
    return next(iter(innermost or unsound), None)


def _inside(path: str, outer: str) -> bool:
    return path != outer and (not outer or path.startswith(f"{outer}/"))


def _named(call: Call, calls: list[Call]) -> str:
    turns = max(other.turn for other in calls if other.path == call.path)
    return (call.path or "the model itself") + (f" (turn {call.turn} of {turns})" if turns > 1 else "")


def _last_call(path: str, order: dict[str, int]) -> int:
    """When the module that a parameter belongs to was called last."""
    return max((number for module, number in order.items() if f"/{path}".find(f"/{module}/") >= 0), default=-1)


def _unsound_leaves(tree: Any) -> list[str]:
    """The paths of all arrays that are not finite."""
    flags = jax.jit(partial(jax.tree.map, lambda leaf: jnp.all(jnp.isfinite(leaf))))(tree)
    named = jax.tree_util.tree_leaves_with_path(jax.device_get(flags))
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, sound in named if not sound]


def _floats(tree: Any) -> list[Array]:
    return [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, Array) and jnp.issubdtype(leaf, jnp.floating)]


def _all(test: Callable[[Array], Array], tree: Any) -> Array:
    return jnp.all(jnp.array([jnp.all(test(leaf)) for leaf in _floats(tree)], bool))
