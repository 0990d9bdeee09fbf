"""Models of every family against the `transformers` library: what they say, learn and write, and the way back.

torch computes in float32 too, so the tolerances are what two roundings leave.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.config.sampling import Sampling
from jaxformer.decoding.generate import generate
from jaxformer.decoding.greedy import greedy
from jaxformer.weights.folder import bound, load_folder, save_folder
from jaxformer.weights.names import leaves_of, write
from jaxformer.weights.safetensors import open_tensors
from tests.parity.families import DECODERS, ENCODER, ENCODER_DECODERS, FAMILIES, V, gradient_by_name

B, S, T = 3, 13, 11
NEW = 9
SOURCE = np.random.default_rng(1).integers(3, V, (B, S))
TARGET = np.random.default_rng(2).integers(3, V, (B, T))


def inputs(name):
    return (SOURCE, TARGET) if name in ENCODER_DECODERS else (SOURCE,)


def asked(torch, theirs, name):
    """Their logits, or vectors where there is no head."""
    tensors = [torch.tensor(part) for part in inputs(name)]
    output = theirs(tensors[0], decoder_input_ids=tensors[1]) if len(tensors) == 2 else theirs(tensors[0])
    return output.logits if "logits" in output else output.last_hidden_state


@pytest.mark.parametrize("name", FAMILIES)
def test_what_it_says_and_how_it_learns(torch, pair, name):
    """Logits, and the gradient of a random weighing of them with respect to every tensor of the file."""
    theirs, _, ours = pair(name)
    expected = asked(torch, theirs, name)
    weigh = np.random.default_rng(3).normal(size=expected.shape).astype(np.float32) / np.sqrt(expected.numel())
    theirs.zero_grad()
    (expected * torch.tensor(weigh)).sum().backward()

    def weighed(params):
        output = ours.model.apply(params, *inputs(name))
        return jnp.sum(output * weigh), output

    (_, output), gradient = jax.jit(jax.value_and_grad(weighed, has_aux=True))(ours.params)
    np.testing.assert_allclose(output, expected.detach().numpy(), atol=1e-4 * max(1, expected.abs().max().item() / 10))
    of = gradient_by_name(theirs)
    _, bindings = bound(ours.model, ours.described)
    for tensor, _, values in write(bindings, leaves_of(gradient)):
        known = of(tensor) if "bias" not in tensor or tensor in dict(theirs.named_parameters()) else None
        if known is not None:  # buffers have none
            np.testing.assert_allclose(values(), known.numpy(), atol=1e-4, err_msg=tensor)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_way_back(torch, transformers, pair, tmp_path, name):
    """What we write are the very bits that we read, and their library says the same of it."""
    theirs, folder, ours = pair(name)
    save_folder(tmp_path, ours.params, ours.described, ours.fields)
    before, after = open_tensors(folder), open_tensors(tmp_path)
    assert set(after) <= set(before)
    for tensor in after:
        np.testing.assert_array_equal(after.read(tensor), before.read(tensor), err_msg=tensor)
    again = type(theirs).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(asked(torch, again, name), asked(torch, theirs, name))


def test_a_pooler_is_read_where_the_architecture_has_one(torch, transformers, tmp_path):
    """BERT as it was trained first has both heads; many files for masked tokens alone hold its pooler still."""
    torch.manual_seed(7)
    theirs = transformers.BertForPreTraining(transformers.BertConfig(**ENCODER)).eval()
    theirs.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = theirs(torch.tensor(SOURCE)).prediction_logits
        pooled = theirs.bert(torch.tensor(SOURCE)).pooler_output
    ours = load_folder(tmp_path)
    np.testing.assert_allclose(ours.model.apply(ours.params, SOURCE), expected, atol=1e-4)
    np.testing.assert_allclose(ours.model.apply(ours.params, SOURCE, method="pooled"), pooled, atol=1e-4)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace("BertForPreTraining", "BertForMaskedLM"))
    alone = load_folder(tmp_path)
    assert "pooler" not in alone.params["params"]
    np.testing.assert_allclose(alone.model.apply(alone.params, SOURCE), expected, atol=1e-4)


@pytest.mark.parametrize("name", DECODERS)
def test_what_it_writes(torch, pair, name):
    """Greedy text of prompts of unequal length in one batch: token for token that of each prompt alone."""
    theirs, _, ours = pair(name)
    lengths = np.array([S, 5, 8])
    written = generate(
        ours.model, ours.params, jnp.asarray(SOURCE), jnp.asarray(lengths), count=NEW, sampling=Sampling(0)
    )
    for row, length in enumerate(lengths):
        prompt = torch.tensor(SOURCE[row : row + 1, :length])
        options = dict(do_sample=False, max_new_tokens=NEW, eos_token_id=None, pad_token_id=0)
        expected = theirs.generate(prompt, attention_mask=torch.ones_like(prompt), **options)[0, length:]
        np.testing.assert_array_equal(written.tokens_BN[row], expected.numpy())


@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_what_it_translates(torch, pair, name):
    theirs, _, ours = pair(name)
    tokens_BT = greedy(ours.model, ours.params, jnp.asarray(SOURCE), length=NEW + 1, bos=0, eos=1, pad=0).tokens_BT
    options = dict(do_sample=False, num_beams=1, max_new_tokens=NEW, suppress_tokens=[0], pad_token_id=0)
    options |= dict(eos_token_id=1, decoder_start_token_id=0, forced_eos_token_id=None)
    expected = theirs.generate(torch.tensor(SOURCE), attention_mask=torch.ones(B, S, dtype=torch.long), **options)
    expected = expected[:, 1:].numpy()
    ended = np.cumsum(expected == 1, axis=1) - (expected == 1)
    np.testing.assert_array_equal(np.asarray(tokens_BT)[:, : expected.shape[1]], np.where(ended, 0, expected))
