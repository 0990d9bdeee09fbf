"""How many floating-point operations a model needs, from its configuration alone.

Only products of matrices count, 2 operations for each multiply-add; at the usual widths the elementwise rest is a few
percent of them. An embedding is a lookup and costs nothing. Masked and padded positions count like any other, because
the dense products compute them: padded lengths give the work done, true lengths the work that was of use.

Source: Chowdhery et al. 2022, appendix B, whose "model FLOPs" these are, written out here for encoder and decoder.
"""

from functools import singledispatch
from typing import Any

from jaxformer.config.blocks import FeedForward, Gated, Latent, MultiHead, ungrouped
from jaxformer.config.experts import MixtureOfExperts
from jaxformer.config.model import (
    Bahdanau,
    DecoderConfig,
    EncoderConfig,
    EncoderDecoderConfig,
    RnnConfig,
    TransformerConfig,
)
from jaxformer.nn.recurrent import cell_of

Flops = dict[str, float]
"""Operations by part of the model; whole numbers for whole lengths."""

TRAINING = 3
"""Forward passes that one training step costs: each product x w has two more of its size in the backward pass, for the
gradients of x and of w. What rematerialisation computes again does not count as work of the model."""


@singledispatch
def forward_flops(config: Any, vocabulary: int, source_length: float, target_length: float) -> Flops:
    """Operations by part for one sentence pair of S source and T target tokens, with all T predictions. A decoder alone
    has no source; an encoder alone reads the source, and T of its tokens are predicted.

    Lengths may be means; the attention scores, which grow with the product of lengths, are then a little too low. A
    new model adds its formula by `forward_flops.register`.
    """
    raise TypeError(f"no FLOP formula for {type(config).__name__}")


@forward_flops.register
def _(config: TransformerConfig, vocabulary: int, source_length: float, target_length: float) -> Flops:
    return forward_flops(config.written_out(), vocabulary, source_length, target_length)


@forward_flops.register
def _(config: EncoderDecoderConfig, vocabulary: int, source_length: float, target_length: float) -> Flops:
    S, T, D = source_length, target_length, config.width
    encoder, decoder = ungrouped(config.encoder), ungrouped(config.decoder)
    reads = [(block.attention, S, S) for block in encoder] + [(block.attention, T, T) for block in decoder]
    reads += [(block.cross, T, S) for block in decoder]
    per_source, per_target = (sum(feed_forward(block.feed_forward, D) for block in side) for side in (encoder, decoder))
    return {
        "attention projections": sum(projections(attention, D, *lengths) for attention, *lengths in reads),
        "attention scores": sum(scores(attention, *lengths) for attention, *lengths in reads),
        "feed-forward": per_source * S + per_target * T,
        "logits": _product(D, vocabulary) * T,
    }


@forward_flops.register
def _(config: RnnConfig, vocabulary: int, source_length: float, target_length: float) -> Flops:
    S, T, E, H = source_length, target_length, config.embedding, config.width
    looks = isinstance(config.attention, Bahdanau)
    memory = H if looks else 0
    gates = cell_of(config.cell).gates
    inputs = [E] + [H] * (config.layers - 1)
    directions, half = (2, H // 2) if looks else (1, H)
    encoder = sum(directions * _product(size + half, gates * half) for size in inputs)
    decoder = sum(_product(size + memory + H, gates * H) for size in inputs)
    flops: Flops = {"recurrence": encoder * S + decoder * T}
    if isinstance(config.attention, Bahdanau):
        flops["additive attention"] = _additive(config.attention.width, H, S, T)
    return flops | {"readout": _product(H + memory, E) * T, "logits": _product(E, vocabulary) * T}


@forward_flops.register
def _(config: DecoderConfig, vocabulary: int, source_length: float, target_length: float) -> Flops:
    T, D = target_length, config.width
    blocks = ungrouped(config.groups) + [config.groups[-1].blocks[-1]] * config.further
    joined = config.further * _product(2 * D, D) * T
    return {
        "attention projections": sum(projections(block.attention, D, T, T) for block in blocks) + joined,
        "attention scores": sum(scores(block.attention, T, T) for block in blocks),
        "feed-forward": sum(feed_forward(block.feed_forward, D) for block in blocks) * T,
        "logits": _product(D, vocabulary) * T * (1 + config.further),
    }


@forward_flops.register
def _(config: EncoderConfig, vocabulary: int, source_length: float, target_length: float) -> Flops:
    S, D, blocks = source_length, config.width, ungrouped(config.groups)
    return {
        "attention projections": sum(projections(block.attention, D, S, S) for block in blocks),
        "attention scores": sum(scores(block.attention, S, S) for block in blocks),
        "feed-forward": sum(feed_forward(block.feed_forward, D) for block in blocks) * S,
        "logits": (_product(D, D) + _product(D, vocabulary)) * target_length if config.masked_head else 0.0,
    }


def training_flops(config: Any, vocabulary: int, source_length: float, target_length: float) -> Flops:
    """Operations by part of a forward and backward pass, per sentence pair; the optimizer's are left out."""
    forward = forward_flops(config, vocabulary, source_length, target_length)
    return {part: TRAINING * count for part, count in forward.items()}


def training_flops_per_target_token(config: Any, vocabulary: int, source_length: float, target_length: float) -> float:
    """Operations of training per predicted token, the work on its share of the source included.

    Times the predicted tokens a second this is the rate of useful work; divided by the devices' peak, the model FLOP
    utilisation (Chowdhery et al. 2022, appendix B).
    """
    return sum(training_flops(config, vocabulary, source_length, target_length).values()) / target_length


def _product(inputs: int, outputs: int) -> int:
    """One vector times a matrix."""
    return 2 * inputs * outputs


@singledispatch
def projections(config: Any, width: int, queries: float, keys: float) -> float:
    """Operations that make queries, keys and values and put the heads together. A new kind of attention registers its
    formula here and in `scores`.
    """
    raise TypeError(f"no FLOP formula for {type(config).__name__}")


@projections.register
def _(config: MultiHead, width: int, queries: float, keys: float) -> float:
    """Queries, outputs and gates once per query, keys and values once per key."""
    per_query = (2 + config.gate) * _product(width, config.heads * config.head_width)
    per_key = 2 * _product(width, config.kv_heads * config.head_width)
    return per_query * queries + per_key * keys


@projections.register
def _(config: Latent, width: int, queries: float, keys: float) -> float:
    """As in training: every head's keys and values are made from the latent vectors."""
    turned, C = config.heads * (config.head_width + config.rotary_width), config.latent_width
    narrow = config.query_width
    query = _product(width, turned) if narrow is None else _product(width, narrow) + _product(narrow, turned)
    per_query = query + _product(config.heads * config.value_width, width)
    per_key = _product(width, C + config.rotary_width)
    per_key += _product(C, config.heads * (config.head_width + config.value_width))
    return per_query * queries + per_key * keys


@singledispatch
def scores(config: Any, queries: float, keys: float) -> float:
    """Operations of q kᵀ, then of the weights times v, for every pair of query and key."""
    raise TypeError(f"no FLOP formula for {type(config).__name__}")


@scores.register
def _(config: MultiHead, queries: float, keys: float) -> float:
    return 2 * _product(1, config.heads * config.head_width) * queries * keys


@scores.register
def _(config: Latent, queries: float, keys: float) -> float:
    width = config.head_width + config.rotary_width + config.value_width
    return _product(1, config.heads * width) * queries * keys


@singledispatch
def feed_forward(config: Any, width: int) -> float:
    """Operations of one token in a feed-forward layer. A new kind of layer registers its formula here."""
    raise TypeError(f"no FLOP formula for {type(config).__name__}")


@feed_forward.register
def _(config: FeedForward, width: int) -> float:
    return 2 * _product(width, config.hidden)


@feed_forward.register
def _(config: Gated, width: int) -> float:
    return 3 * _product(width, config.hidden)


@feed_forward.register
def _(config: MixtureOfExperts, width: int) -> float:
    """The router, and the experts that a token passes through; the others cost nothing."""
    expert = (3 if config.gated else 2) * _product(width, config.hidden)
    return _product(width, config.experts) + config.active * expert + 3 * _product(width, config.shared)


def _additive(width: int, hidden: int, source: float, target: float) -> float:
    """Keys once per source token, a query per target token, and for each pair the score and the weighted memory."""
    return _product(hidden, width) * (source + target) + _product(1, width + hidden) * source * target
