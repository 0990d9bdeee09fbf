"""Which parameters a model has, and how many."""

import bisect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp

Config = TypeVar("Config", bound=Any)


@dataclass(frozen=True)
class Parameter:
    """One array of a model: a row of its table."""

    path: str
    """Names from the model down, joined with "/"."""
    shape: tuple[int, ...]
    axes: tuple[str | None, ...]
    """The logical axis of each dimension; empty where the parameters came without their names."""
    dtype: str

    @property
    def count(self) -> int:
        """Number of scalars."""
        return math.prod(self.shape)

    @property
    def embeds(self) -> bool:
        """Whether it is a table with a row per token or position."""
        return not {"vocabulary", "position"}.isdisjoint(self.axes)


def abstract_parameters(model: nn.Module, *inputs: Any) -> Any:
    """The model's parameters as shapes, with the names of their axes; nothing is computed or allocated.

    `inputs` are what the model is called with: unless given, an encoder-decoder's source and target int32 [1, 2].
    """
    tokens = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    return jax.eval_shape(model.init, jax.random.key(0), *(inputs or (tokens, tokens)))


def parameter_table(params: Any) -> list[Parameter]:
    """A row per array of params, which may be arrays or shapes, with or without the names of their axes."""
    leaves, _ = jax.tree.flatten_with_path(params, is_leaf=_is_named)
    return [_row(path, leaf) for path, leaf in leaves]


def parameter_count(rows: Iterable[Parameter]) -> int:
    """All of them."""
    return sum(row.count for row in rows)


def model_size(model: nn.Module, *inputs: Any) -> int:
    """All parameters of a model that is called with `inputs`, counted without allocating them."""
    return parameter_count(parameter_table(abstract_parameters(model, *inputs)))


def equally_large(
    build: Callable[[Config], nn.Module], config: Config, parameters: int, *inputs: Any, most: int = 4096
) -> Config:
    """The config with that `width`, from 1 to `most`, with which its model comes nearest to so many parameters.

    For rivals of equal size. `build` makes a model of a config, which is called with `inputs`; a wider one must have
    more parameters.
    """

    def sized(width: int) -> Config:
        return replace(config, width=width)

    def size(width: int) -> int:
        return model_size(build(sized(width)), *inputs)

    wider = min(1 + bisect.bisect_left(range(1, most + 1), parameters, key=size), most)
    return sized(min((max(wider - 1, 1), wider), key=lambda width: abs(size(width) - parameters)))


def non_embedding_count(rows: Iterable[Parameter]) -> int:
    """All but the tables with a row per token or position: the size of a model in Kaplan et al. 2020, §2.1.

    The rows must carry the names of their axes, as those of `abstract_parameters` do.
    """
    return sum(row.count for row in rows if not row.embeds)


def group_totals(rows: Iterable[Parameter], depth: int = 1) -> dict[str, int]:
    """Counts added up by the first `depth` names of the path, in the order of their first row."""
    totals: dict[str, int] = {}
    for row in rows:
        group = "/".join(row.path.split("/")[:depth])
        totals[group] = totals.get(group, 0) + row.count
    return totals


def _is_named(leaf: Any) -> bool:
    return isinstance(leaf, nn.Partitioned)


def _row(path: tuple[Any, ...], leaf: Any) -> Parameter:
    names = [str(key.key) for key in path if isinstance(key, jax.tree_util.DictKey)]
    array, axes = (leaf.value, tuple(leaf.names)) if _is_named(leaf) else (leaf, ())
    # Linen keeps parameters under the name of their collection, which says nothing here.
    path_name = "/".join(names[1:] if names[:1] == ["params"] else names)
    return Parameter(path_name, tuple(array.shape), axes, str(array.dtype))
