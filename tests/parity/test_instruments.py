"""What the instruments see inside a model, against the `transformers` library, which hands its inside out too."""

import jax
import numpy as np
import pytest

from jaxformer.analysis.ablation import ablate_each, mean_head_outputs
from jaxformer.analysis.attention_maps import attention_maps
from jaxformer.analysis.hidden_states import hidden_states, logit_lens
from tests.parity.compare import assert_close
from tests.parity.families import ENCODER_DECODERS, L, N, V

B, S, T = 3, 13, 11
RNG = np.random.default_rng(1)
TOKENS = {"source": RNG.integers(3, V, (B, S)), "target": RNG.integers(3, V, (B, T))}

SLOW = ("gemma2", "llama", "marian", "mistral, window", "qwen3 of experts", "t5")
NAMES = ["gpt2", "bert", "deepseek-v3", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]

REST = [("gpt2", "mean"), ("deepseek-v3", "zero")]


@pytest.fixture
def inside(torch, pair):
    """A family's name → (our model, its parameters, its inputs, all that theirs hands out)."""

    def seen(name):
        theirs, _, ours = pair(name)
        theirs.set_attn_implementation("eager")
        tokens = [torch.tensor(part) for part in TOKENS.values()]
        how = dict(output_attentions=True, output_hidden_states=True)
        if name in ENCODER_DECODERS:
            inputs = tuple(TOKENS.values())
            output = theirs(tokens[0], decoder_input_ids=tokens[1], **how)
        else:
            inputs, output = (TOKENS["source"],), theirs(tokens[0], **how)
        return ours.model, ours.params, inputs, output

    return seen


def arrays(tensors):
    return np.stack([tensor.detach().numpy() for tensor in tensors])


@pytest.mark.parametrize("name", NAMES)
def test_maps_states_and_lens_are_theirs(inside, name):
    model, params, inputs, theirs = inside(name)

    @jax.jit
    def ours(params):
        states = hidden_states(model, params, *inputs)
        return attention_maps(model, params, *inputs), states, logit_lens(model, params, *inputs)

    maps, states, lens = ours(params)
    if name in ENCODER_DECODERS:
        expected = {"encoder": theirs.encoder_attentions, "decoder": theirs.decoder_attentions}
        expected |= {"cross": theirs.cross_attentions}
        streams = {"encoder": theirs.encoder_hidden_states, "decoder": theirs.decoder_hidden_states}
    else:
        kind = "encoder" if name == "bert" else "decoder"
        expected, streams = {kind: theirs.attentions}, {kind: theirs.hidden_states}
    assert_close(maps, {kind: arrays(weights) for kind, weights in expected.items()}, 1e-4)
    for kind, stream in streams.items():
        # Their last one has the final norm applied, where there is one.
        assert_close(states[kind][:-1], arrays(stream[:-1]), 1e-4)
        if name in ("bert", "marian"):
            assert_close(states[kind][-1], stream[-1].detach().numpy(), 1e-4)
    assert_close(lens[-1], theirs.logits.detach().numpy(), 1e-4)


@pytest.mark.parametrize(
    ("name", "instead"),
    [("gpt2", "zero"), ("deepseek-v3", "mean"), *(pytest.param(*rest, marks=pytest.mark.slow) for rest in REST)],
)
def test_a_model_without_a_head_is_theirs_with_that_slice_replaced(torch, pair, name, instead):
    """Of every layer in turn one head's slice of what their output projection reads."""
    theirs, _, ours = pair(name)
    layers = theirs.transformer.h if name == "gpt2" else theirs.model.layers
    projections = [layer.attn.c_proj if name == "gpt2" else layer.self_attn.o_proj for layer in layers]
    tokens = torch.tensor(TOKENS["source"])

    def without(layer, head):
        def replaced(module, args):
            x = args[0].clone().reshape(B, S, N, -1)
            x[:, :, head] = x[:, :, head].mean((0, 1)) if instead == "mean" else 0
            return (x.reshape(B, S, -1),)

        hook = projections[layer].register_forward_pre_hook(replaced)
        with torch.no_grad():
            logits = theirs(tokens).logits.numpy()
        hook.remove()
        return logits

    @jax.jit
    def each(params):
        means = mean_head_outputs(ours.model, params, TOKENS["source"]) if instead == "mean" else None
        return ablate_each(ours.model, params, lambda p: ours.model.apply(p, TOKENS["source"]), means)["decoder"]

    found = each(ours.params)
    assert found.shape == (L, N, B, S, V)
    for layer, head in enumerate((2, 0, 3)):
        assert_close(found[layer, head], without(layer, head), 1e-4)
