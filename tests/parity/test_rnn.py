"""The recurrent encoder-decoder against torch: packed sequences in the encoder, plain loops in the decoder, float64."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxformer.analysis.attention_maps import attention_maps
from jaxformer.config.model import Bahdanau, Gru, Lstm, RnnConfig
from jaxformer.models.rnn import Rnn
from jaxformer.objectives import translation
from tests.laws.cases import Pairs
from tests.parity import torch_weights
from tests.parity.compare import assert_all_close, assert_close

B, T, S, V, A, E, HALF = 3, 7, 11, 23, 13, 17, 5
H = 2 * HALF
LAYERS = 2
TARGET_LENGTHS, SOURCE_LENGTHS = np.array([T, 3, 5]), np.array([6, S, 1])
PLAIN = RnnConfig(embedding=E, width=H, layers=LAYERS, dropout=0.0)
CELLS = [pytest.param(Gru(), "GRU", 3, id="gru"), pytest.param(Lstm(), "LSTM", 4, id="lstm")]


def batch():
    rng, there = np.random.default_rng(6), lambda lengths, length: np.arange(length) < lengths[:, None]
    return Pairs(
        np.where(there(SOURCE_LENGTHS, S), rng.integers(1, V, (B, S)), 0),
        np.where(there(TARGET_LENGTHS + 1, T + 1), rng.integers(1, V, (B, T + 1)), 0),
    )


def twin_of(torch, name, attentive):
    """The same network in torch: cuDNN's layers over packed sequences, and a decoder that is a loop over its tokens."""
    layer, cell = getattr(torch.nn, name), getattr(torch.nn, f"{name}Cell")

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(V, E, dtype=torch.float64)
            width, ways = (HALF, 2) if attentive else (H, 1)
            self.encoder = layer(E, width, LAYERS, bidirectional=ways == 2, batch_first=True, dtype=torch.float64)
            seen = H if attentive else 0
            self.first = cell(E + seen, H, dtype=torch.float64)
            self.second = cell(H + seen, H, dtype=torch.float64)
            self.readout = torch.nn.Linear(H + seen, E, dtype=torch.float64)
            if attentive:
                self.score_state = torch.nn.Linear(H, A, bias=False, dtype=torch.float64)
                self.score_memory = torch.nn.Linear(H, A, bias=False, dtype=torch.float64)
                self.score = torch.nn.Linear(A, 1, bias=False, dtype=torch.float64)

        def encode(self, source):
            """Every layer's last state, a tuple of [B, H] each, and the vectors of the last layer."""
            lengths = (source != 0).sum(1)
            if not attentive:
                rows = [row[:length].flip(0) for row, length in zip(source, lengths, strict=True)]
                source = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
            packed = torch.nn.utils.rnn.pack_padded_sequence(
                self.table(source) * E**0.5, lengths, batch_first=True, enforce_sorted=False
            )
            packed, last = self.encoder(packed)
            memory, _ = torch.nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
            per_layer = [
                m.reshape(LAYERS, -1, B, m.shape[-1]).permute(0, 2, 1, 3).reshape(LAYERS, B, H)
                for m in (last if name == "LSTM" else (last,))
            ]
            return [tuple(m[i] for m in per_layer) for i in range(LAYERS)], memory

        def forward(self, source, target):
            states, memory = self.encode(source)
            hidden = (source == 0)[:, : memory.shape[1]]
            outputs, all_weights = [], []
            for x in (self.table(target) * E**0.5).unbind(1):
                seen = []
                if attentive:
                    keys = self.score_memory(memory) + self.score_state(states[0][0])[:, None]
                    scores = self.score(torch.tanh(keys))[..., 0].masked_fill(hidden, -torch.inf)
                    all_weights.append(torch.softmax(scores, -1))
                    seen = [(all_weights[-1][..., None] * memory).sum(1)]
                for i, step in enumerate((self.first, self.second)):
                    state = states[i] if name == "LSTM" else states[i][0]
                    after = step(torch.cat([x, *seen], -1), state)
                    states[i] = after if name == "LSTM" else (after,)
                    x = states[i][0]
                outputs.append(torch.tanh(self.readout(torch.cat([x, *seen], -1))))
            logits = torch.nn.functional.linear(torch.stack(outputs, 1), self.table.weight)
            return logits, torch.stack(all_weights, 1) if attentive else None

    return Model()


def tree_of(read, gates, attentive):
    def layer(prefix, suffix=""):
        return torch_weights.recurrent(torch_weights.under(prefix, read), suffix, gates)

    tree = {
        "embedding": {"table": read("table.weight")},
        "decoders_0": layer("first."),
        "decoders_1": layer("second."),
        "readout": {"weight": read("readout.weight").T, "bias": read("readout.bias")},
    }
    for i in range(LAYERS):
        if attentive:
            tree[f"forwards_{i}"] = layer("encoder.", f"_l{i}")
            tree[f"backwards_{i}"] = layer("encoder.", f"_l{i}_reverse")
        else:
            tree[f"backwards_{i}"] = layer("encoder.", f"_l{i}")
    if attentive:
        tree["decoders_0"] |= {n: read(f"{n}.weight").T for n in ("score_state", "score_memory", "score")}
    return {"params": tree}


@pytest.mark.parametrize("attentive", [False, True], ids=["plain", "attention"])
@pytest.mark.parametrize("cell, name, gates", CELLS)
def test_the_whole_model_trains_as_torchs(torch, cell, name, gates, attentive):
    """The encoder's states and vectors, the attention, the logits, the loss and the gradient of every weight."""
    twin = twin_of(torch, name, attentive)
    torch_weights.randomise(twin, seed=8)
    source, target = (torch.tensor(part) for part in batch())
    expected, weights = twin(source, target[:, :-1])
    loss = torch.nn.functional.cross_entropy(
        expected.reshape(-1, V), target[:, 1:].reshape(-1), label_smoothing=0.1, ignore_index=0, reduction="sum"
    )
    loss.backward()

    model = Rnn(replace(PLAIN, cell=cell, attention=Bahdanau(A)) if attentive else replace(PLAIN, cell=cell), V)
    params = jax.tree.map(np.float32, tree_of(torch_weights.values(twin), gates, attentive))
    objective = translation(model, smoothing=0.1)
    ours, gradient = jax.jit(jax.value_and_grad(lambda params: objective(params, batch(), None).costs.loss))(params)
    inputs = batch().source_BS, batch().target_BT[:, :-1]
    logits_BTV = jax.jit(model.apply)(params, *inputs)
    assert_all_close(
        (logits_BTV, ours, gradient),
        (expected.detach().numpy(), loss.item(), tree_of(torch_weights.gradients(twin), gates, attentive)),
    )

    cache = jax.jit(lambda params: model.apply(params, inputs[0], method="encode"))(params)
    states, memory = twin.encode(source)
    assert_all_close(jax.tree.leaves(cache.states), [m.detach().numpy() for state in states for m in state])
    maps = jax.jit(lambda params: attention_maps(model, params, *inputs))(params)
    if attentive:
        assert_close(cache.source[0], memory.detach().numpy())
        assert_close(maps["cross"][0, :, 0], weights.detach().numpy())
    else:
        assert maps == {}
