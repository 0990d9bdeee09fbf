"""Who computes attention: what each backend can do exactly, and which is taken where none is named."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from functools import singledispatch
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.config.attention import Auto, Backend, Blockwise, Cudnn, Formula, Kernel, Splash
from jaxformer.ops.attention import fused
from jaxformer.ops.attention.asked import Asked
from jaxformer.ops.attention.blockwise import Heads, Rule, attend_blockwise
from jaxformer.ops.attention.lifting import every_head


@singledispatch
def refusal(backend: Any, asked: Asked) -> str | None:
    """Why a backend cannot do exactly what is asked, here; None where it can. A new backend registers itself here and
    in `attend_by`.
    """
    raise TypeError(f"attention needs a backend as Auto() or Formula(), got {backend!r}")


@singledispatch
def attend_by(backend: Any, asked: Asked) -> Array:
    """What the queries read, o [B, T, N, W] in v's dtype; of what the backend refuses, nothing may be asked."""
    raise TypeError(f"attention needs a backend as Auto() or Formula(), got {backend!r}")


@refusal.register
def _(backend: Formula, asked: Asked) -> str | None:
    return None


@attend_by.register
def _(backend: Formula, asked: Asked) -> Array:
    return every_head(asked)[0]


@refusal.register
def _(backend: Blockwise, asked: Asked) -> str | None:
    return None if asked.in_order else fused.NOT_IN_ORDER


@attend_by.register
def _(backend: Blockwise, asked: Asked) -> Array:
    rule = Rule(asked.scale, asked.softcap, backend.block)
    heads = Heads(asked.q_BTNH, asked.k_BSKH, asked.v_BSKW, asked.bias, asked.sinks_N)
    return attend_blockwise(rule, jax.tree.map(jnp.asarray, heads), asked.mask)


@refusal.register
def _(backend: Cudnn, asked: Asked) -> str | None:
    if jax.default_backend() != "gpu":
        return f"it runs on NVIDIA's GPUs, and here is a {jax.default_backend().upper()}"
    return fused.cudnn_refusal(asked)


@attend_by.register
def _(backend: Cudnn, asked: Asked) -> Array:
    return fused.by_jax(asked, "cudnn")


@refusal.register
def _(backend: Splash, asked: Asked) -> str | None:
    if jax.default_backend() != "tpu" and not backend.interpret:
        return f"it runs on TPUs, and here is a {jax.default_backend().upper()}"
    return fused.splash_refusal(asked)


@attend_by.register
def _(backend: Splash, asked: Asked) -> Array:
    return fused.by_splash(asked, backend.block, backend.interpret)


@refusal.register
def _(backend: Kernel, asked: Asked) -> str | None:
    # It brings in all of Pallas.
    from jaxformer.ops.attention.kernel import kernel_refusal

    if jax.default_backend() != "gpu" and not backend.interpret:
        return f"it runs on GPUs, and here is a {jax.default_backend().upper()}"
    return fused.NOT_IN_ORDER if not asked.in_order else kernel_refusal(asked, backend.interpret)


@attend_by.register
def _(backend: Kernel, asked: Asked) -> Array:
    from jaxformer.ops.attention.kernel import Launch, attend_by_kernel

    launch = Launch(asked.scale, asked.softcap, backend.queries, backend.keys, backend.interpret)
    heads = Heads(asked.q_BTNH, asked.k_BSKH, asked.v_BSKW, asked.bias, asked.sinks_N)
    return attend_by_kernel(launch, jax.tree.map(jnp.asarray, heads), asked.mask)


class Taken(NamedTuple):
    """Who computes an attention, and why."""

    backend: Backend
    why: str
    shape: tuple[int, ...]
    """Of the queries, [B, T, N, H]."""
    keys: int

    def __str__(self) -> str:
        B, T, N, _ = self.shape
        return f"{self.backend} for {B} x {T} queries of {N} heads and {self.keys} keys: {self.why}"


def taken(backend: Backend, asked: Asked) -> Taken:
    """Who computes what is asked. Raises ValueError, with the reason, where the backend cannot."""
    shapes = asked.q_BTNH.shape, asked.k_BSKH.shape[1]
    if isinstance(backend, Auto):
        choice = Taken(*_fastest(asked), *shapes)
    elif reason := refusal(backend, asked):
        raise ValueError(f"{type(backend).__name__} cannot do this: {reason}; take Auto(), which finds one that can")
    else:
        choice = Taken(backend, "as asked for", *shapes)
    if (watched := _WATCHED.get()) is not None:
        watched.append(choice)
    return choice


LARGE = 2**20
"""Scores, of all heads together, that no longer fit into a processor's cache."""


def _fastest(asked: Asked) -> tuple[Backend, str]:
    platform, (B, T, N, _), S = jax.default_backend(), asked.q_BTNH.shape, asked.k_BSKH.shape[1]
    if platform == "cpu":
        if B * N * T * S < LARGE or min(T, S) < 128:
            return Formula(), "there are few scores"
        if jax.device_count() > 1:
            # A loop over heads and sequences would undo their division among devices.
            return Formula(), f"{jax.device_count()} devices divide heads and sequences"
    own = {"cpu": Blockwise(), "tpu": Splash()}.get(platform, Cudnn())
    if reason := refusal(own, asked):
        return Formula(), f"{type(own).__name__} cannot do this: {reason}"
    return own, f"there are many scores on a {platform.upper()}"


_WATCHED: ContextVar[list[Taken] | None] = ContextVar("watched", default=None)


@contextlib.contextmanager
def watching() -> Iterator[list[Taken]]:
    """Fills a list with who computes each attention that is traced meanwhile; what was traced before is not again."""
    watched: list[Taken] = []
    token = _WATCHED.set(watched)
    try:
        yield watched
    finally:
        _WATCHED.reset(token)
