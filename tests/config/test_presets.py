"""Named models: rivals of equal size, and clear words for a wrong name."""

from dataclasses import replace

import pytest

from jaxformer.analysis.parameters import abstract_parameters, non_embedding_count, parameter_table
from jaxformer.config.blocks import PreNorm
from jaxformer.config.errors import UserError
from jaxformer.config.io import from_json, to_json
from jaxformer.config.model import Bahdanau, RnnConfig, Sinusoidal, TransformerConfig
from jaxformer.config.presets import PRESETS, Preset, preset
from jaxformer.models.build import build
from jaxformer.weights.folder import describe

RIVALS = [name for name, entry in PRESETS.items() if isinstance(entry.config, RnnConfig)]


def size(config):
    return non_embedding_count(parameter_table(abstract_parameters(build(config, 11))))


@pytest.mark.parametrize("name", RIVALS)
def test_a_rival_has_the_parameters_of_its_transformer(name):
    config, transformer = preset(name), preset(f"transformer-{name.rsplit('-')[-1]}")
    assert isinstance(config, RnnConfig) and isinstance(transformer, TransformerConfig)
    assert config.embedding == transformer.width and config.dropout == transformer.dropout
    assert ("attention" in name) == isinstance(config.attention, Bahdanau)
    assert config.width % 4 == 0 and config.layers == 2
    assert size(config) == pytest.approx(size(transformer), rel=0.02)


@pytest.mark.parametrize(
    "name, width, layers, heads, feed_forward, dropout",
    [
        ("transformer-mini", 128, 2, 4, 256, 0.05),
        ("transformer-tiny", 128, 4, 4, 256, 0.3),
        ("transformer-base", 512, 6, 8, 2048, 0.1),
        ("transformer-big", 1024, 6, 16, 4096, 0.3),
    ],
)
def test_transformers_are_the_published_ones(name, width, layers, heads, feed_forward, dropout):
    config = preset(name)
    assert config == TransformerConfig(width, layers, layers, heads, feed_forward, dropout, Sinusoidal(), PreNorm())
    assert config.tied_output


MARIAN = {"layers": 6, "attention_heads": 8, "ffn_dim": 2048}
T5 = {"model_type": "t5", "vocab_size": 32128, "d_kv": 64, "layer_norm_epsilon": 1e-6}
PUBLISHED = {
    "t5-small": T5 | {"d_model": 512, "d_ff": 2048, "num_layers": 6, "num_heads": 8},
    "t5-base": T5 | {"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12},
    "flan-t5-base": T5
    | {"d_model": 768, "d_ff": 2048, "num_layers": 12, "num_heads": 12}
    | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "opus-mt": {"model_type": "marian", "vocab_size": 58101, "pad_token_id": 58100, "d_model": 512}
    | {f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in MARIAN.items()}
    | {"activation_function": "swish", "scale_embedding": True, "static_position_embeddings": True},
}
"""What the config.json of google-t5/t5-small, google-t5/t5-base, google/flan-t5-base and Helsinki-NLP/opus-mt-en-de say
of their models.
"""


@pytest.mark.parametrize("name", PUBLISHED)
def test_encoder_decoders_are_the_published_ones(name):
    described = describe(PUBLISHED[name], "config.json")
    assert described.config == replace(preset(name), dropout=0.0)
    assert described.vocabulary == PRESETS[name].vocabulary


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_json_and_introduces_itself_in_one_line(name):
    assert from_json(Preset, to_json(PRESETS[name])) == PRESETS[name]
    assert 20 < len(PRESETS[name].description) < 110 and "\n" not in PRESETS[name].description


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UserError, match=r"no model is named 'transfomer-tiny'; did you mean transformer-tiny"):
        preset("transfomer-tiny")
    with pytest.raises(UserError, match="the models are transformer-mini, transformer-tiny, gru-tiny, "):
        preset("42")
