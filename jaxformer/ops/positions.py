"""Where a token stands: as a vector, and as what its distance adds to a score."""

from functools import cache

import jax.numpy as jnp
from jax import Array


def sinusoid(position: Array, width: int, base: float = 10_000.0, halves: bool = False) -> Array:
    """The position's code float32 [..., width]: sin and cos of position / base^(2i/width), one beside the other, or all
    sines before all cosines where `halves`.

    `position` is an integer array of any shape, `width` even. Source: Vaswani et al. 2017, §3.5.
    """
    if width % 2:
        raise ValueError(f"width must be even, got {width}")
    frequencies = base ** (-jnp.arange(0, width, 2, dtype=jnp.float32) / width)
    angles = position[..., None].astype(jnp.float32) * frequencies
    both = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-2 if halves else -1)
    return both.reshape(*position.shape, width)


def alibi_slopes(heads: int) -> Array:
    """How fast each head's scores fall with distance, float32 [N]: 2^(-8/N), 2^(-16/N), … 2^(-8).

    Where N is no power of two, those of the largest power P below it, then every other one of 2P. Source: Press et al.
    2022, §3 and the authors' code.
    """
    power = 1 << (heads.bit_length() - 1)
    own = [2 ** (-8 * i / power) for i in range(1, power + 1)]
    between = [2 ** (-4 * i / power) for i in range(1, 2 * power, 2)]
    return jnp.asarray([*own, *between][:heads], jnp.float32)


def alibi(slope: Array, t: Array, s: Array) -> Array:
    """What is added to the score of query position t and key position s: -slope · |t - s|, float32.

    Integer positions broadcast. Behind the query these are the published numbers; ahead of it, where a causal mask
    would hide the key, they fall alike. Source: Press et al. 2022, §3.
    """
    return -slope * jnp.abs(t - s).astype(jnp.float32)


def relative_bucket(distance: Array, buckets: int, reach: int, bidirectional: bool) -> Array:
    """The bucket int32 of a distance, key position minus query position, an integer array of any shape.

    The first half of the buckets hold one distance each, the others grow geometrically up to `reach`, from where all
    share the last. Where `bidirectional`, half of all are for keys ahead; else a key ahead counts as the query's own
    position. There are at least 4 buckets, and `reach` is larger than half of them. Source: Raffel et al. 2020, §2.1
    and the authors' code.
    """
    if not bidirectional:
        return _bucket(jnp.maximum(-distance, 0), buckets, reach)
    return _bucket(jnp.abs(distance), buckets // 2, reach) + jnp.where(distance > 0, buckets // 2, 0)


def _bucket(distance: Array, buckets: int, reach: int) -> Array:
    # A sum over numbers and not over an array of them, which a kernel could not hold.
    starts = _bucket_starts(buckets, reach)
    return sum(((distance >= start).astype(jnp.int32) for start in starts[1:]), jnp.zeros_like(distance, jnp.int32))


@cache
def _bucket_starts(buckets: int, reach: int) -> list[int]:
    """The smallest distance of each bucket: 0, 1, … E - 1, then ⌈E (reach/E)^(j/J)⌉ for j = 0 … J - 1.

    In integers, (d/E)^J ≥ (reach/E)^j being d^J E^j ≥ E^J reach^j: a logarithm in float32 may fall on either side of a
    bound that is a whole number, as most are for 32 buckets that reach 128, on some device or other.
    """
    E = buckets // 2
    J = buckets - E
    starts = list(range(E))
    for j in range(J):
        d = starts[-1]
        while d**J * E**j < E**J * reach**j:
            d += 1
        starts.append(d)
    return starts
