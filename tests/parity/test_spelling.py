"""Models of ours that no config.json described, written as Hugging Face folders: `transformers` says the same."""

import json

import jax
import numpy as np
import pytest

from jaxformer.config.model import DecoderConfig
from jaxformer.text.tokenizer import Specials
from jaxformer.weights.folder import abstract, build, describe, save_folder
from jaxformer.weights.spelling import computed, spelled
from tests.parity.compare import random_like
from tests.parity.families import DECODERS, ENCODERS
from tests.weights.trained import MODELS, V

TOKENS_BT = np.random.default_rng(1).integers(3, V, (3, 13))
MARKS = Specials(pad=0, eos=2)
QUICK = ("gpt2", "llama in two groups", "gemma3", "mixtral", "deepseek-v3", "bert with both heads")
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in MODELS if name not in QUICK]


@pytest.mark.parametrize("name", [*QUICK, *SLOW])
def test_what_it_says(torch, transformers, name, tmp_path):
    """The same logits, or vectors, for random weights where training has them; no tensor is missing."""
    _, config = MODELS[name]
    described, fields = spelled(config, V, MARKS)
    model = build(described._replace(config=config))
    params = random_like(abstract(model), seed=3)
    save_folder(tmp_path, params, described, fields)
    head = "ForCausalLM" if isinstance(config, DecoderConfig) else "ForMaskedLM" if config.masked_head else ""
    auto = getattr(transformers, f"AutoModel{head}")
    theirs, read = auto.from_pretrained(tmp_path, output_loading_info=True)
    assert not read["missing_keys"] and not read["mismatched_keys"]
    assert all("pooler" in key for key in read["unexpected_keys"])  # the head for masked tokens has no use for it
    with torch.no_grad():
        output = theirs.eval()(torch.tensor(TOKENS_BT))
    expected = (output.logits if head else output.last_hidden_state).numpy()
    tolerance = 1e-4 * max(1, np.abs(expected).max() / 10)
    np.testing.assert_allclose(jax.jit(model.apply)(params, TOKENS_BT), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", [*DECODERS, "bert", "bert without a head"])
def test_read_written_and_read_again(transformers, name):
    """What `transformers` calls a family is written as that family again."""
    family = (DECODERS | ENCODERS)[name]
    config = getattr(transformers, family.config)(**family.options, architectures=[family.model])
    described = describe(json.loads(config.to_json_string(use_diff=False)), "config.json")
    again, fields = spelled(described.config, described.vocabulary, MARKS)
    assert fields["model_type"] == config.model_type and fields["architectures"] == config.architectures
    assert again.config == described.config and again.vocabulary == described.vocabulary
    assert computed(describe(fields, "config.json").config) == computed(described.config)
