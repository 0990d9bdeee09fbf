"""What a head is worth: the same model without it.

A head adds to the residual stream what its rows of the output projection make of its output. So a model without it is
the same model with other parameters: those rows are zero, and where its mean output stands in for it, what they made of
the mean is a bias. Such parameters do all that the whole ones can, and cost the same.

The functions may be jitted, and mapped over the stacked parameters of several seeds.

    >>> loss = lambda params: jnp.mean(cross_entropy(model.apply(params, tokens_BT), labels_BT).loss)
    >>> without = jax.jit(lambda params: ablate_each(model, params, loss))(params)["decoder"]  # [L, N]
"""

from collections.abc import Callable, Mapping
from functools import singledispatch
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxformer.config.blocks import Groups, ungrouped
from jaxformer.config.model import TransformerConfig
from jaxformer.models.classifier import Classifier
from jaxformer.models.decoder import Decoder
from jaxformer.models.encoder import Encoder
from jaxformer.models.seq2seq import Transformer
from jaxformer.nn.recorder import Heads, Recorded


class Place(NamedTuple):
    """Where the attentions of one kind stand."""

    path: tuple[str, ...]
    """To the parameters of their stack."""
    groups: Groups
    name: str = "attention"
    """Of the attention within a block, in its config and its parameters."""

    @property
    def shape(self) -> tuple[int, int]:
        """Layers and heads (L, N). Raises ValueError where layers differ in their heads."""
        heads = [getattr(block, self.name).heads for block in ungrouped(self.groups)]
        if len(set(heads)) > 1:
            raise ValueError(f"layers must have as many heads each to be ablated as one array, got {heads}")
        return len(heads), heads[0]


@singledispatch
def places(model: Any) -> dict[str, Place]:
    """Where a model's attentions stand, by kind: "encoder", "decoder", "cross"; nothing where it has no heads. A new
    kind of model is registered here.
    """
    return {}


@places.register
def _(model: Decoder) -> dict[str, Place]:
    return {"decoder": Place(("layers",), model.config.groups)}


@places.register
def _(model: Encoder) -> dict[str, Place]:
    return {"encoder": Place(("layers",), model.config.groups)}


@places.register
def _(model: Classifier) -> dict[str, Place]:
    return {"encoder": Place(("encoder", "layers"), model.config.groups)}


@places.register
def _(model: Transformer) -> dict[str, Place]:
    c = model.config.written_out() if isinstance(model.config, TransformerConfig) else model.config
    return {
        "encoder": Place(("encoder",), c.encoder),
        "decoder": Place(("decoder",), c.decoder),
        "cross": Place(("decoder",), c.decoder, "cross"),
    }


def head_outputs(model: Any, params: Any, *tokens: Any) -> dict[str, Any]:
    """What every head hands to its output projection, [L, B, T, N, H] by kind; `tokens` are what the model is called
    with. Raises ValueError where layers differ in their heads.
    """
    recorder = Heads(model.config.layers.attention)
    found: dict[str, Recorded] = model.recording(recorder).apply(params, *tokens, method="recorded")
    own = {kind: kept.own.heads for kind, kept in found.items()}
    cross = found["decoder"].cross if "decoder" in found else None
    return own if cross is None else own | {"cross": cross.heads}


def mean_head_outputs(model: Any, params: Any, *tokens: Any) -> dict[str, Array]:
    """The mean output of every head over all tokens that are no padding, float32 [L, N, H] by kind."""
    pad = getattr(model, "pad", None)
    target = 1 if isinstance(model, Transformer) else 0
    means = {}
    for kind, o_LBTNH in head_outputs(model, params, *tokens).items():
        read_BT = jnp.asarray(tokens[0 if kind == "encoder" else target])
        counted_BT = jnp.ones(read_BT.shape) if pad is None else (read_BT != pad).astype(jnp.float32)
        summed_LNH = jnp.einsum("lbtnh,bt->lnh", o_LBTNH.astype(jnp.float32), counted_BT)
        means[kind] = summed_LNH / jnp.maximum(jnp.sum(counted_BT), 1)
    return means


def ablated(model: Any, params: Any, kept: Mapping[str, Any], means: Mapping[str, Any] | None = None) -> Any:
    """The parameters of the same model without some heads.

    Args:
        kept: by kind, how much of each head's output is kept, [L, N]: 1 for all of it, 0 for none.
        means: by kind, what stands in for the rest, an output of each head [L, N, H]; nothing unless given.

    Raises:
        ValueError: a kind of attention that the model does not have, or another number of layers or heads.
    """
    known, params = places(model), nn.meta.unbox(params)
    for kind, kept_LN in kept.items():
        _check(known, kind, np.shape(kept_LN))
        mean_LNH = None if means is None else means[kind]
        params = {**params, "params": _in_stack(params["params"], known[kind], jnp.asarray(kept_LN), mean_LNH)}
    return params


def ablate_each(
    model: Any, params: Any, measure: Callable[[Any], Any], means: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What `measure` says of the parameters without one head, for each head in turn: by kind [L, N, …].

    One program is compiled for all heads, which are taken one after the other. Under `jax.jit` a kind that is not used
    costs nothing. `measure` maps parameters to an array, or a tree of them, such as a loss or logits; `means` as in
    `ablated`. Source: Michel et al. 2019, §3.2, where heads are zeroed.
    """

    def of_kind(kind: str, place: Place) -> Any:
        L, N = place.shape
        only_RLN = 1 - jnp.eye(L * N).reshape(-1, L, N)
        found = jax.lax.map(lambda kept_LN: measure(ablated(model, params, {kind: kept_LN}, means)), only_RLN)
        return jax.tree.map(lambda rows: rows.reshape(L, N, *rows.shape[1:]), found)

    return {kind: of_kind(kind, place) for kind, place in places(model).items()}


def _check(known: Mapping[str, Place], kind: str, shape: tuple[int, ...]) -> None:
    if kind not in known:
        raise ValueError(f"kept must name kinds of attention that the model has, {', '.join(known)}, got {kind!r}")
    if shape != known[kind].shape:
        raise ValueError(f"kept[{kind!r}] must be [layers, heads] = {list(known[kind].shape)}, got {list(shape)}")


def _in_stack(params: Any, place: Place, kept_LN: Array, mean_LNH: Any) -> Any:
    """The parameters of a model with those of one kind of attention changed, block by block."""
    first = 0
    for g, group in enumerate(place.groups):
        width, last = len(group.blocks), first + len(group.blocks) * group.times
        for b in range(width):
            turns = slice(first + b, last, width)
            mean_TNH = None if mean_LNH is None else mean_LNH[turns]
            path = (*place.path, f"rows_{g}", f"blocks_{b}", place.name)
            params = _changed(params, path, kept_LN[turns], mean_TNH)
        first = last
    return params


def _changed(params: Any, path: tuple[str, ...], kept_TN: Array, mean_TNH: Any) -> Any:
    """A tree with the attention at a path changed; T are the turns of its group."""
    if path:
        return {**params, path[0]: _changed(params[path[0]], path[1:], kept_TN, mean_TNH)}
    wo_TNHD = params["output"]
    changed = {**params, "output": wo_TNHD * kept_TN[..., None, None]}
    if mean_TNH is not None:
        instead_TD = jnp.einsum("tn,tnh,tnhd->td", 1 - kept_TN, mean_TNH, wo_TNHD)
        changed["output_bias"] = params.get("output_bias", 0) + instead_TD
    return changed
