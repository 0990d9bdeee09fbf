"""What is written of a config of ours is read as the same model; what no family computes is refused."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields as fields_of
from dataclasses import is_dataclass, replace
from typing import Any

import pytest

from jaxformer.config.blocks import Parallel
from jaxformer.config.errors import UserError
from jaxformer.config.model import NoPosition, RnnConfig, TransformerConfig
from jaxformer.config.positions import Alibi, Ntk, Rotary
from jaxformer.text.tokenizer import Specials
from jaxformer.weights.folder import describe
from jaxformer.weights.spelling import computed, spelled
from tests.weights.trained import BERT, GPT2, LLAMA, MODELS, V, decoder, with_heads

MARKS = Specials(pad=3, bos=5, eos=7)


@pytest.mark.parametrize("name", MODELS)
def test_read_written_and_read_again(name):
    """Through JSON: the same model, in the family that is meant, and from there the same words again."""
    family, config = MODELS[name]
    described, fields = spelled(config, V, MARKS)
    assert fields["model_type"] == family
    assert (fields["pad_token_id"], fields["bos_token_id"], fields["eos_token_id"]) == (3, 5, 7)
    assert (
        computed(described.config) == computed(config) and described.stacks == described._replace(config=config).stacks
    )
    again = describe(json.loads(json.dumps(fields)), "config.json")
    assert computed(again.config) == computed(config) and again.vocabulary == V
    known = {key: value for key, value in spelled(again.config, V, MARKS)[1].items() if "drop" not in key}
    assert known.items() <= fields.items()


TRAINING_ALONE = {"dropout", "unroll", "remat", "dtype", "deviation", "balance", "z", "bias_rate", "further"}


def changes(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted path of every leaf in a config, and the config with that leaf changed, where it may be."""
    match value:
        case bool():
            yield path, not value
        case int():
            yield path, 2 * value or 1
        case float():
            yield path, value / 2 or 0.25
        case str():
            yield path, {"float32": "bfloat16", "relu": "silu"}.get(value, "relu")
        case tuple():
            for i, item in enumerate(value):
                yield from ((inner, (*value[:i], new, *value[i + 1 :])) for inner, new in changes(item, f"{path}.{i}"))
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields_of(value):
            for inner, new in changes(getattr(value, field.name), f"{path}.{field.name}"):
                with suppress(ValueError):
                    yield inner, replace(value, **{field.name: new})


@pytest.mark.parametrize("name", MODELS)
def test_no_change_is_lost(name):
    """Every number and every choice that logits depend on is in the words, or is refused."""
    _, config = MODELS[name]
    _, before = spelled(config, V, MARKS)
    silent = TRAINING_ALONE | {".activation"}  # of the head, which the one model has not that comes so far
    for path, changed in changes(config):
        with suppress(UserError):
            after = spelled(changed, V, MARKS)[1]
            assert path in silent or path.rpartition(".")[2] in silent or after != before, path


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            replace(GPT2, relative=Alibi(), position=NoPosition()),
            r"no family of .* computes what this config says; the nearest is gpt2, which would change position: "
            r"NoPosition\(\) → Learned\(.*\) and 1 more",
        ),
        (replace(LLAMA, relative=Alibi()), r"the nearest is llama, which would change relative: Alibi\(\) → None$"),
        (
            decoder(replace(with_heads(), placement=Parallel())),
            r"nearest is llama, which would change blocks.0.placement: Parallel\(norms=1\) → PreNorm\(\) and 1 more$",
        ),
        (decoder(with_heads(sinks=True)), r"change blocks.0.attention.sinks: True → False"),
        (decoder(with_heads(rotary=Rotary(300.0, scaling=Ntk(2.0)))), r"rotary.scaling: Ntk\(factor=2.0\) → None"),
        (decoder(with_heads(rotary=Rotary(300.0, fraction=0.4))), r"change .*rotary.fraction: 0.4 → 1.0"),
        (decoder(with_heads(rotary=None)), r"change blocks.0.attention.rotary: None → Rotary\("),
        (
            TransformerConfig(28, 2, 2, heads=4, feed_forward=19).written_out(),
            r"the nearest is marian, which would change encoder.* PreNorm\(\) → PostNorm\(\) and \d more$",
        ),
        (
            replace(MODELS["t5"][1], relative=Alibi()),
            r"no family of .* computes what this config says; the nearest is ",
        ),
        (replace(BERT, segments=0), r"the nearest is bert: segments must be at least 1, got 0"),
        (replace(BERT, masked_head=False, pooler=False), r"nearest is bert, which would change pooler: False → True"),
        (
            RnnConfig(),
            "must be a DecoderConfig or EncoderConfig or EncoderDecoderConfig to be written as a config.json, got Rnn",
        ),
    ],
)
def test_what_no_family_computes_is_refused(config, message):
    with pytest.raises(UserError, match=message) as raised:
        spelled(config, V, MARKS)
    assert "\n" not in str(raised.value)


def test_llama_is_left_to_others_where_transformers_does_not_take_its_shape():
    """transformers asks of a Llama that the width be a multiple of the heads, and nothing of the kind of a Mistral."""
    config = decoder(with_heads())
    assert spelled(config, V, MARKS)[1]["model_type"] == "llama"
    _, fields = spelled(replace(config, width=29), V, MARKS)
    assert fields["model_type"] == "mistral" and fields["sliding_window"] is None


def test_marks_that_a_vocabulary_lacks_are_written_as_none():
    """transformers has ids of its own for those that are left out, which may lie outside the vocabulary."""
    described, fields = spelled(BERT, V, Specials())
    assert fields["pad_token_id"] is None and fields["eos_token_id"] is None and described.pad == 0
