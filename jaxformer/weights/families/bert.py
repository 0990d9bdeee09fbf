"""BERT (Devlin et al. 2019), RoBERTa (Liu et al. 2019) and DistilBERT (Sanh et al. 2019)."""

from collections.abc import Mapping

from jaxformer.config.blocks import Block, FeedForward, LayerNorm, MultiHead, PostNorm, grouped
from jaxformer.config.model import EncoderConfig, Learned
from jaxformer.weights.families.described import ACTIVATIONS, Described
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
    r"lm_head\.decoder\.(weight|bias)",
    r"vocab_projector\.weight",
)
"""Buffers, copies of tied weights, and the head that tells whether two sentences follow each other."""


def bert(fields: Fields) -> Described:
    """The config.json of BERT: with the head for masked tokens where its architecture says so, else with the pooler."""
    masked = _masked(fields, "BertForMaskedLM", "BertForPreTraining", "BertModel")
    prefix = "bert." if masked else ""
    return _described(fields, masked, prefix, prefix + "encoder.layer.{i}.", LAYER, BERT_HEAD)


def roberta(fields: Fields) -> Described:
    """The config.json of RoBERTa, whose positions are counted from the row after that of the padding token."""
    masked = _masked(fields, "RobertaForMaskedLM", None, "RobertaModel")
    prefix, first = "roberta." if masked else "", fields("pad_token_id", 1) + 1
    return _described(fields, masked, prefix, prefix + "encoder.layer.{i}.", LAYER, ROBERTA_HEAD, first)


def distilbert(fields: Fields) -> Described:
    """The config.json of DistilBERT: no segments, no pooler."""
    masked = _masked(fields, "DistilBertForMaskedLM", None, "DistilBertModel")
    fields.must("sinusoidal_pos_embds", False, True)  # trained or not, the positions are in the file
    prefix, D, heads = "distilbert." if masked else "", fields("dim"), fields("n_heads")
    activation = fields.choose("activation", ACTIVATIONS, "gelu")
    block = Block(
        MultiHead(heads, heads, D // heads),
        FeedForward(fields("hidden_dim"), activation),
        LayerNorm(1e-12),
        PostNorm(),
    )
    context = fields("max_position_embeddings")
    config = EncoderConfig(
        width=D,
        groups=grouped([block] * fields("n_layers")),
        position=Learned(context),
        segments=0,
        masked_head=masked,
        activation=activation,
        context=context,
    )
    table = _table(prefix, prefix + "transformer.layer.{i}.", DISTILLED, DISTILBERT_HEAD)
    described = Described(config, fields("vocab_size"), table, fields("pad_token_id", 0))
    fields.done()
    return described


def _masked(fields: Fields, masked: str, pretraining: str | None, plain: str) -> bool:
    """Whether the file has the head for masked tokens. A file that does not say is the plain model."""
    heads = {masked: True, plain: False} | ({pretraining: True} if pretraining else {})
    architectures = fields("architectures", None) or [plain]
    return Fields({"architectures": architectures[0]}, fields.where).choose("architectures", heads)


def _described(
    fields: Fields, masked: bool, prefix: str, layers: str, rows: tuple[Names, ...], head: tuple[Names, ...], first=0
) -> Described:
    fields.must("position_embedding_type", "absolute", None)
    D, heads, norm = fields("hidden_size"), fields("num_attention_heads"), LayerNorm(fields("layer_norm_eps", 1e-12))
    activation = fields.choose("hidden_act", ACTIVATIONS, "gelu")
    feed_forward = FeedForward(fields("intermediate_size"), activation)
    block = Block(MultiHead(heads, heads, D // heads), feed_forward, norm, PostNorm())
    context = fields("max_position_embeddings") - first
    config = EncoderConfig(
        width=D,
        groups=grouped([block] * fields("num_hidden_layers")),
        position=Learned(context, first),
        segments=fields("type_vocab_size", 2),
        embedding_norm=norm,
        masked_head=masked,
        pooler=not masked,
        activation=activation,
        context=context,
    )
    table = _table(prefix, layers, rows, head)
    described = Described(config, fields("vocab_size"), table, fields("pad_token_id", 0))
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
