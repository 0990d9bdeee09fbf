"""BERT (Devlin et al. 2019), RoBERTa (Liu et al. 2019) and DistilBERT (Sanh et al. 2019)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxformer.config.blocks import Block, FeedForward, LayerNorm, MultiHead, PostNorm, grouped, ungrouped
from jaxformer.config.model import EncoderConfig, Learned
from jaxformer.weights.families.described import ACTIVATION_NAMES, ACTIVATIONS, Described, part
from jaxformer.weights.fields import Fields
from jaxformer.weights.names import Layers, Names, NameTable, flat, matrix, same


def _normed(ours: str, theirs: str) -> tuple[Names, ...]:
    return same(f"{ours}/scale", f"{theirs}.weight"), same(f"{ours}/bias", f"{theirs}.bias")


def _dense(ours: str, theirs: str) -> tuple[Names, ...]:
    return matrix(ours, f"{theirs}.weight"), same(f"{ours}_bias", f"{theirs}.bias")


def _projections(names: Mapping[str, str], output: str) -> tuple[Names, ...]:
    """Queries, keys and values by our name and theirs, and what follows them."""
    rows = [matrix(f"attention/{ours}", f"{theirs}.weight") for ours, theirs in names.items()]
    rows += [flat(f"attention/{ours}_bias", f"{theirs}.bias") for ours, theirs in names.items()]
    return (
        *rows,
        matrix("attention/output", f"{output}.weight", inputs=2),
        same("attention/output_bias", f"{output}.bias"),
    )


LAYER: tuple[Names, ...] = (
    *_projections({name: f"attention.self.{name}" for name in ("query", "key", "value")}, "attention.output.dense"),
    *_normed("around_attention/norm", "attention.output.LayerNorm"),
    *_dense("feed_forward/up", "intermediate.dense"),
    *_dense("feed_forward/down", "output.dense"),
    *_normed("around_feed_forward/norm", "output.LayerNorm"),
)

DISTILLED: tuple[Names, ...] = (
    *_projections(
        {"query": "attention.q_lin", "key": "attention.k_lin", "value": "attention.v_lin"}, "attention.out_lin"
    ),
    *_normed("around_attention/norm", "sa_layer_norm"),
    *_dense("feed_forward/up", "ffn.lin1"),
    *_dense("feed_forward/down", "ffn.lin2"),
    *_normed("around_feed_forward/norm", "output_layer_norm"),
)

BERT_HEAD: tuple[Names, ...] = (
    *_dense("head/dense", "cls.predictions.transform.dense"),
    *_normed("head/norm", "cls.predictions.transform.LayerNorm"),
    same("head/output_bias", "cls.predictions.bias"),
)

ROBERTA_HEAD: tuple[Names, ...] = (
    *_dense("head/dense", "lm_head.dense"),
    *_normed("head/norm", "lm_head.layer_norm"),
    same("head/output_bias", "lm_head.bias"),
)

DISTILBERT_HEAD: tuple[Names, ...] = (
    *_dense("head/dense", "vocab_transform"),
    *_normed("head/norm", "vocab_layer_norm"),
    same("head/output_bias", "vocab_projector.bias"),
)

SURPLUS = (
    r".*embeddings\.position_ids",
    r"cls\.predictions\.decoder\.(weight|bias)",
    r"cls\.seq_relationship\..*",
    r"(bert|roberta)\.pooler\..*",
    r"lm_head\.decoder\.(weight|bias)",
    r"vocab_projector\.weight",
)
"""Buffers, copies of tied weights, the head that tells whether two sentences follow each other, and a pooler that the
architecture does not name.
"""


class Heads(NamedTuple):
    """What stands on the layers."""

    masked: bool
    """A head for masked tokens."""
    pooler: bool


BERT_HEADS = {
    "BertModel": Heads(masked=False, pooler=True),
    "BertForMaskedLM": Heads(masked=True, pooler=False),
    "BertForPreTraining": Heads(masked=True, pooler=True),
}
"""By architecture; a file that names none is of the first."""

ROBERTA_HEADS = {
    "RobertaModel": Heads(masked=False, pooler=True),
    "RobertaForMaskedLM": Heads(masked=True, pooler=False),
}

DISTILBERT_HEADS = {
    "DistilBertModel": Heads(masked=False, pooler=False),
    "DistilBertForMaskedLM": Heads(masked=True, pooler=False),
}


def bert(fields: Fields) -> Described:
    """The config.json of BERT, its architecture saying which heads it has."""
    heads = _heads(fields, BERT_HEADS)
    return _described(fields, heads, "bert." if heads.masked else "", BERT_HEAD)


def bert_fields(config: EncoderConfig) -> dict[str, Any]:
    """`bert` taken back."""
    if not config.segments:
        raise ValueError(f"segments must be at least 1, got {config.segments}")
    feed_forward, blocks = part(config, FeedForward), ungrouped(config.groups)
    architectures = {heads: name for name, heads in BERT_HEADS.items()}
    return {
        "architectures": [architectures.get(Heads(config.masked_head, config.pooler), "BertModel")],
        "hidden_size": config.width,
        "num_hidden_layers": len(blocks),
        "num_attention_heads": part(config, MultiHead).heads,
        "intermediate_size": feed_forward.hidden,
        "hidden_act": ACTIVATION_NAMES[feed_forward.activation],
        "layer_norm_eps": blocks[0].norm.epsilon,
        "max_position_embeddings": config.context,
        "type_vocab_size": config.segments,
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": 0.0,
    }


def roberta(fields: Fields) -> Described:
    """The config.json of RoBERTa, whose positions are counted from the row after that of the padding token."""
    heads, first = _heads(fields, ROBERTA_HEADS), fields.count("pad_token_id", 1, least=0) + 1
    return _described(fields, heads, "roberta." if heads.masked else "", ROBERTA_HEAD, first)


def distilbert(fields: Fields) -> Described:
    """The config.json of DistilBERT: no segments, no pooler."""
    masked, pooler = _heads(fields, DISTILBERT_HEADS)
    fields.must("sinusoidal_pos_embds", False, True)  # trained or not, the positions are in the file
    prefix, D, heads = "distilbert." if masked else "", fields.count("dim"), fields.count("n_heads")
    activation = fields.choose("activation", ACTIVATIONS, "gelu")
    block = Block(
        MultiHead(heads, heads, D // heads),
        FeedForward(fields.count("hidden_dim"), activation),
        LayerNorm(1e-12),
        PostNorm(),
    )
    context = fields.count("max_position_embeddings")
    config = EncoderConfig(
        width=D,
        groups=grouped([block] * fields.layers("n_layers")),
        position=Learned(context),
        segments=0,
        masked_head=masked,
        pooler=pooler,
        activation=activation,
        context=context,
    )
    table = _table(prefix, prefix + "transformer.layer.{i}.", DISTILLED, DISTILBERT_HEAD)
    described = Described(config, fields.count("vocab_size"), table, fields.count("pad_token_id", 0, least=0))
    fields.done()
    return described


def _heads(fields: Fields, known: Mapping[str, Heads]) -> Heads:
    architectures = fields.listed("architectures", tuple(known))
    return known[architectures[0]] if architectures else next(iter(known.values()))


def _described(fields: Fields, heads: Heads, prefix: str, head: tuple[Names, ...], first: int = 0) -> Described:
    fields.must("position_embedding_type", "absolute", None)
    D, count = fields.count("hidden_size"), fields.count("num_attention_heads")
    norm = LayerNorm(fields.number("layer_norm_eps", 1e-12))
    activation = fields.choose("hidden_act", ACTIVATIONS, "gelu")
    feed_forward = FeedForward(fields.count("intermediate_size"), activation)
    block = Block(MultiHead(count, count, D // count), feed_forward, norm, PostNorm())
    context = fields.count("max_position_embeddings") - first
    config = EncoderConfig(
        width=D,
        groups=grouped([block] * fields.layers("num_hidden_layers")),
        position=Learned(context, first),
        segments=fields.count("type_vocab_size", 2, least=0),
        embedding_norm=norm,
        masked_head=heads.masked,
        pooler=heads.pooler,
        activation=activation,
        context=context,
    )
    table = _table(prefix, prefix + "encoder.layer.{i}.", LAYER, head)
    described = Described(config, fields.count("vocab_size"), table, fields.count("pad_token_id", None, least=0) or 0)
    fields.done()
    return described


def _table(prefix: str, layers: str, rows: tuple[Names, ...], head: tuple[Names, ...]) -> NameTable:
    outside = (
        same("embedding/table", f"{prefix}embeddings.word_embeddings.weight"),
        same("position/position", f"{prefix}embeddings.position_embeddings.weight"),
        same("segments", f"{prefix}embeddings.token_type_embeddings.weight"),
        *_normed("embedding_norm", f"{prefix}embeddings.LayerNorm"),
        *_dense("pooler/dense", f"{prefix}pooler.dense"),
        *head,
    )
    return NameTable(outside, (Layers("layers", layers, rows),), SURPLUS)
