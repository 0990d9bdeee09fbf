"""Who may read whom: predicates of a query position and a key position, with boolean algebra.

A mask is a small pure function `mask(t, s)` of integer positions that broadcast, True where query t may read key s. It
is written for one sequence; arrays that differ from sequence to sequence (lengths, segments) are its leaves, so that
`jax.vmap` maps it over a batch.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


class Mask:
    """A predicate with `&`, `|` and `~`. Subclasses are dataclasses registered as pytrees and define `__call__`."""

    def __call__(self, t: Array, s: Array) -> Array:
        """Whether query position t may read key position s; broadcasts over both."""
        raise NotImplementedError

    def __and__(self, other: "Mask") -> "Mask":
        return And(self, other)

    def __or__(self, other: "Mask") -> "Mask":
        return Or(self, other)

    def __invert__(self) -> "Mask":
        return Not(self)

    def reach(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        """Bounds first, last of what queries at start … stop-1 may read of so many keys: none of the others, whatever
        the mask's arrays hold.
        """
        return 0, keys

    def whole(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        """Bounds first, last of so many keys that every query at start … stop-1 may read, whatever the mask's arrays
        hold; there may be more of them.
        """
        return 0, 0

    def table(self, query_positions_T: Array, key_positions_S: Array) -> Array:
        """The whole table [T, S] of the predicate, for the formula that needs it."""
        table_TS = self(query_positions_T[:, None], key_positions_S[None, :])
        return jnp.broadcast_to(table_TS, (query_positions_T.shape[0], key_positions_S.shape[0]))

    def batch_axes(self) -> Any:
        """`in_axes` for `jax.vmap`: 0 for each leaf that has a leading batch axis, None for one that all sequences
        share.
        """

        def axis(field: dataclasses.Field) -> Any:
            value = getattr(self, field.name)
            if isinstance(value, Mask):
                return value.batch_axes()
            return 0 if value is not None and jnp.ndim(value) > field.metadata["rank"] else None

        dynamic = (f for f in dataclasses.fields(self) if not f.metadata.get("static"))  # pyright: ignore[reportArgumentType]
        return dataclasses.replace(self, **{f.name: axis(f) for f in dynamic})  # pyright: ignore[reportArgumentType, reportCallIssue]


def _per_sequence(rank: int, **options: Any) -> Any:
    """A leaf that has `rank` axes for one sequence, and one more in front where it differs over a batch."""
    return dataclasses.field(metadata={"rank": rank}, **options)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Causal(Mask):
    """A query reads its own and earlier positions: s ≤ t."""

    def __call__(self, t, s):
        return s <= t

    def reach(self, start, stop, keys):
        return 0, min(stop, keys)

    def whole(self, start, stop, keys):
        return 0, min(start + 1, keys)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Window(Mask):
    """A query reads keys nearer than `size`: |t - s| < size. With `Causal()`, the last `size` positions including its
    own.
    """

    size: int = dataclasses.field(metadata={"static": True})

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(f"a window must hold at least 1 position, got size={self.size}")

    def __call__(self, t, s):
        return jnp.abs(t - s) < self.size

    def reach(self, start, stop, keys):
        return max(0, min(start - self.size + 1, keys)), min(stop + self.size - 1, keys)

    def whole(self, start, stop, keys):
        return _shared((0, keys), (min(stop - self.size, keys), start + self.size))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Prefix(Mask):
    """Every query reads the first `length` keys: a valid length alone, a prefix language model as `Causal() |
    Prefix(n)`.
    """

    length: Array | int = _per_sequence(0)

    def __call__(self, t, s):
        return s < self.length


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Valid(Mask):
    """Every query reads the keys that are flagged True, and no padding."""

    flags_S: Array = _per_sequence(1)

    def __call__(self, t, s):
        return self.flags_S[s]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Segments(Mask):
    """A query reads keys of its own segment: several documents packed in one sequence do not see each other."""

    query_ids_T: Array = _per_sequence(1)
    key_ids_S: Array | None = _per_sequence(1, default=None)
    """None where a sequence reads itself."""

    def __call__(self, t, s):
        return self.query_ids_T[t] == (self.query_ids_T if self.key_ids_S is None else self.key_ids_S)[s]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class And(Mask):
    """Both."""

    left: Mask
    right: Mask

    def __call__(self, t, s):
        return self.left(t, s) & self.right(t, s)

    def reach(self, start, stop, keys):
        return _shared(self.left.reach(start, stop, keys), self.right.reach(start, stop, keys))

    def whole(self, start, stop, keys):
        return _shared(self.left.whole(start, stop, keys), self.right.whole(start, stop, keys))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Or(Mask):
    """Either or both."""

    left: Mask
    right: Mask

    def __call__(self, t, s):
        return self.left(t, s) | self.right(t, s)

    def reach(self, start, stop, keys):
        (a, b), (c, d) = self.left.reach(start, stop, keys), self.right.reach(start, stop, keys)
        return min(a, c), max(b, d)

    def whole(self, start, stop, keys):
        both = self.left.whole(start, stop, keys), self.right.whole(start, stop, keys)
        return max(both, key=lambda bounds: bounds[1] - bounds[0])


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Not(Mask):
    """The other ones."""

    mask: Mask

    def __call__(self, t, s):
        return ~self.mask(t, s)


def _shared(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """Bounds of what lies within both."""
    first = max(a[0], b[0])
    return first, max(first, min(a[1], b[1]))
