"""Parameter tables: counts are the analytic ones, and the names of axes are kept where there are any."""

from dataclasses import replace

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxformer.analysis.parameters import (
    abstract_parameters,
    equally_large,
    group_totals,
    model_size,
    non_embedding_count,
    parameter_count,
    parameter_table,
)
from jaxformer.config.blocks import PostNorm
from jaxformer.config.model import Bahdanau, Learned, Lstm, RecurrentDecoderConfig, RnnConfig, TransformerConfig
from jaxformer.models.recurrent_decoder import RecurrentDecoder
from jaxformer.models.rnn import Rnn
from jaxformer.models.seq2seq import Transformer

V, D, F, E, M, P = 53, 26, 19, 3, 2, 31
CONFIG = TransformerConfig(width=D, encoder_layers=E, decoder_layers=M, heads=13, feed_forward=F, position=Learned(P))


def table(model):
    return parameter_table(abstract_parameters(model))


def test_transformer_has_the_parameters_of_its_formula():
    attention, feed_forward, norm = 4 * D * D + 4 * D, 2 * D * F + F + D, 2 * D
    blocks = E * (attention + feed_forward + 2 * norm) + M * (2 * attention + feed_forward + 3 * norm)
    rows = table(Transformer(CONFIG, V))
    assert non_embedding_count(rows) == blocks + 2 * norm
    assert parameter_count(rows) == blocks + 2 * norm + V * D + 2 * P * D


@pytest.mark.parametrize("change, more", [
    ({"tied_output": False}, V * D),
    ({"norm": PostNorm()}, -4 * D),
    ({"bias": False}, -(E * 4 * D + M * 8 * D + (E + M) * (F + D))),
])  # fmt: skip
def test_each_choice_adds_its_own_parameters(change, more):
    changed = parameter_count(table(Transformer(replace(CONFIG, **change), V)))
    assert changed - parameter_count(table(Transformer(CONFIG, V))) == more


def test_rnn_with_attention_has_the_parameters_of_its_formula():
    W, H, A, gates = 17, 22, 5, 4
    layer = lambda inputs, width: gates * width * (inputs + width + 2)  # noqa: E731
    encoder = 2 * layer(W, H // 2) + 2 * layer(H, H // 2)
    decoder = layer(W + H, H) + layer(H + H, H) + 2 * H * A + A
    rows = table(Rnn(RnnConfig(Lstm(), W, H, 2, Bahdanau(A)), V))
    assert non_embedding_count(rows) == encoder + decoder + 2 * H * W + W
    assert parameter_count(rows) == non_embedding_count(rows) + V * W


def test_real_parameters_give_the_table_of_the_abstract_ones():
    model = Transformer(CONFIG, V)
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract_parameters(model))
    assert parameter_table(params) == table(model)
    plain = parameter_table(nn.unbox(params))
    assert [(row.path, row.shape, row.dtype) for row in plain] == [(r.path, r.shape, r.dtype) for r in table(model)]
    assert all(row.axes == () for row in plain)


def test_rows_say_what_stands_where():
    row = {row.path: row for row in table(Transformer(CONFIG, V))}["encoder/rows_0/blocks_0/attention/query"]
    assert (row.shape, row.axes, row.dtype) == ((E, D, 13, 2), ("layers", "embed", "heads", "head"), "float32")
    assert row.count == E * D * 26 and not row.embeds


def test_groups_add_up_to_the_whole():
    rows = table(Transformer(CONFIG, V))
    totals = group_totals(rows)
    assert sum(totals.values()) == parameter_count(rows)
    assert totals["embedding"] == V * D and totals["source_position"] == P * D
    assert sum(n for name, n in group_totals(rows, 2).items() if name.startswith("encoder/")) == totals["encoder"]


def test_the_rival_of_equal_size_is_the_nearest_one():
    config, tokens = RecurrentDecoderConfig(Lstm(), embedding=7, layers=1), np.zeros((1, 2), np.int32)

    def size(width):
        """Of embeddings, gates with both biases, and the readout."""
        return V * 7 + 4 * width * (7 + width + 2) + width * 7 + 7

    def build(config):
        return RecurrentDecoder(config, V)

    assert model_size(build(replace(config, width=19)), tokens) == size(19)
    for parameters in (1, size(1), size(13) + 1, size(14) - 1, size(29), 10**9):
        nearest = min(range(1, 31), key=lambda width: abs(size(width) - parameters))
        assert equally_large(build, config, parameters, tokens, most=30).width == nearest
