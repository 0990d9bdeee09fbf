"""Models of ours that no config.json described, written as Hugging Face folders: `transformers` says the same."""

import json

import jax
import numpy as np
import pytest

from jaxformer.config.model import DecoderConfig, EncoderDecoderConfig
from jaxformer.text.tokenizer import Specials
from jaxformer.weights.folder import abstract, build, describe, save_folder
from jaxformer.weights.spelling import computed, spelled
from tests.parity.compare import random_like
from tests.parity.families import DECODERS, ENCODER_DECODERS, ENCODERS
from tests.weights.trained import MODELS, V

TOKENS_BT = np.random.default_rng(1).integers(3, V, (3, 13))
MARKS = Specials(pad=0, eos=2)
QUICK = ("gpt2", "llama in two groups", "gemma3", "mixtral", "deepseek-v3", "bert with both heads", "t5", "marian")
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in MODELS if name not in QUICK]


def head_of(config):
    """The end of the name of their class with the head that a model has."""
    match config:
        case DecoderConfig():
            return "ForCausalLM"
        case EncoderDecoderConfig():
            return "ForSeq2SeqLM"
    return "ForMaskedLM" if config.masked_head else ""


@pytest.mark.parametrize("name", [*QUICK, *SLOW])
def test_what_it_says(torch, transformers, name, tmp_path):
    """The same logits, or vectors, for random weights where training has them; no tensor is missing."""
    _, config = MODELS[name]
    described, fields = spelled(config, V, MARKS)
    model = build(described._replace(config=config))
    params = random_like(abstract(model), seed=3)
    save_folder(tmp_path, params, described, fields)
    head = head_of(config)
    auto = getattr(transformers, f"AutoModel{head}")
    theirs, read = auto.from_pretrained(tmp_path, output_loading_info=True)
    assert not read["missing_keys"] and not read["mismatched_keys"]
    assert all("pooler" in key for key in read["unexpected_keys"])  # the head for masked tokens has no use for it
    inputs = {"input_ids": TOKENS_BT}
    if isinstance(config, EncoderDecoderConfig):
        inputs["decoder_input_ids"] = TOKENS_BT[:, ::-1][:, :7].copy()
    with torch.no_grad():
        output = theirs.eval()(**{name: torch.tensor(tokens) for name, tokens in inputs.items()})
    expected = (output.logits if head else output.last_hidden_state).numpy()
    tolerance = 1e-4 * max(1, np.abs(expected).max() / 10)
    np.testing.assert_allclose(jax.jit(model.apply)(params, *inputs.values()), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", [*DECODERS, "bert", "bert without a head", *ENCODER_DECODERS])
def test_read_written_and_read_again(transformers, name):
    """What `transformers` calls a family is written as that family again."""
    family = (DECODERS | ENCODERS | ENCODER_DECODERS)[name]
    config = getattr(transformers, family.config)(**family.options, architectures=[family.model])
    described = describe(json.loads(config.to_json_string(use_diff=False)), "config.json")
    again, fields = spelled(described.config, described.vocabulary, MARKS)
    assert fields["model_type"] == config.model_type and fields["architectures"] == config.architectures
    assert again.config == described.config and again.vocabulary == described.vocabulary
    assert computed(describe(fields, "config.json").config) == computed(described.config)
