"""The Transformer's parts and the whole of it against torch's, with its weights: values and gradients.

torch computes in float64 and is the truth; the tolerances are what float32 leaves. No row is fully padded here, where
torch gives NaN.
"""

import jax
import numpy as np
import pytest

from jaxformer.config.blocks import MultiHead, PostNorm, PreNorm
from jaxformer.config.model import TransformerConfig
from jaxformer.models.seq2seq import Transformer
from jaxformer.nn.attention import Attention, Where
from jaxformer.nn.block import Block, Context
from jaxformer.nn.recorder import Weights
from jaxformer.objectives import translation
from jaxformer.ops.attention.masks import Causal, Valid
from tests.laws.cases import Pairs
from tests.parity import torch_weights
from tests.parity.compare import assert_all_close, assert_close, normal

B, T, S, N, H, F, V = 3, 7, 11, 2, 5, 13, 23
D = N * H
ENCODER_LAYERS, DECODER_LAYERS = 3, 2
TARGET_LENGTHS, SOURCE_LENGTHS = np.array([T, 3, 5]), np.array([6, S, 1])
PLACEMENTS = [pytest.param(PreNorm(), True, id="pre-norm"), pytest.param(PostNorm(), False, id="post-norm")]


def there(lengths_B, length):
    return np.arange(length) < lengths_B[:, None]


@pytest.fixture(scope="module")
def tensor(torch):
    """numpy → a float64 tensor that collects its gradient; flags and tokens as they are."""

    def make(x):
        x = np.array(x)
        return torch.tensor(x, dtype=torch.float64, requires_grad=True) if x.dtype == np.float32 else torch.tensor(x)

    return make


def compared(torch_output, torch_module, torch_inputs, tree_of, ours, inputs):
    """((our values, gradients of our inputs and weights), torch's); `ours(params, *inputs)`.

    Both sides are weighed by the same random numbers before the gradients are taken, so that every element counts.
    """
    weight = normal(99, *torch_output.shape)
    (torch_output * torch_output.new_tensor(weight)).sum().backward()
    expected = [torch_output.detach().numpy(), tree_of(torch_weights.gradients(torch_module))]
    expected += [x.grad.numpy() for x in torch_inputs]

    def weighed(params, *inputs):
        output = ours(params, *inputs)
        return (output * weight).sum(), output

    params = jax.tree.map(np.float32, tree_of(torch_weights.values(torch_module)))
    argnums = tuple(range(1 + len(inputs)))
    (_, output), gradients = jax.jit(jax.value_and_grad(weighed, argnums, has_aux=True))(params, *inputs)
    return [output, *gradients], expected


@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
def test_self_attention(torch, tensor, causal):
    x, flags = normal(1, B, T, D), there(TARGET_LENGTHS, T)
    twin = torch.nn.MultiheadAttention(D, N, batch_first=True, dtype=torch.float64)
    torch_weights.randomise(twin, seed=2)
    hidden = torch.triu(torch.ones(T, T, dtype=torch.bool), 1) if causal else None
    tx = tensor(x)
    output, weights = twin(tx, tx, tx, key_padding_mask=tensor(~flags), attn_mask=hidden, average_attn_weights=False)
    module = Attention(MultiHead(N, N, H), D, Weights())
    mask = Valid(flags) & Causal() if causal else Valid(flags)
    tree_of = lambda read: torch_weights.attention(read, N)  # noqa: E731
    ours = lambda params, x: module.apply({"params": params}, x, method=lambda m, x: m(x, m.rows(x), Where(mask)))  # noqa: E731
    assert_all_close(*compared(output, twin, [tx], tree_of, lambda params, x: ours(params, x)[0], [x]))
    params = jax.tree.map(np.float32, tree_of(torch_weights.values(twin)))
    assert_close(jax.jit(ours)(params, x)[1].weights, weights.detach().numpy())


@pytest.mark.smoke
def test_cross_attention(torch, tensor):
    x, memory, flags = normal(1, B, T, D), normal(2, B, S, D), there(SOURCE_LENGTHS, S)
    twin = torch.nn.MultiheadAttention(D, N, batch_first=True, dtype=torch.float64)
    torch_weights.randomise(twin, seed=3)
    tx, tmemory = tensor(x), tensor(memory)
    output, _ = twin(tx, tmemory, tmemory, key_padding_mask=tensor(~flags))
    module = Attention(MultiHead(N, N, H), D)

    def ours(params, x, memory):
        read = lambda m, x, memory: m(x, m.rows(memory), Where(Valid(flags)))[0]  # noqa: E731
        return module.apply({"params": params}, x, memory, method=read)

    tree_of = lambda read: torch_weights.attention(read, N)  # noqa: E731
    assert_all_close(*compared(output, twin, [tx, tmemory], tree_of, ours, [x, memory]))


def config(norm):
    return TransformerConfig(
        width=D, heads=N, feed_forward=F, norm=norm, encoder_layers=ENCODER_LAYERS, decoder_layers=DECODER_LAYERS,
        dropout=0.0,
    )  # fmt: skip


def layer_options(torch, norm_first):
    return dict(dropout=0.0, batch_first=True, norm_first=norm_first, dtype=torch.float64)


@pytest.mark.parametrize("norm, norm_first", PLACEMENTS)
def test_encoder_layer(torch, tensor, norm, norm_first):
    x, flags = normal(1, B, S, D), there(SOURCE_LENGTHS, S)
    twin = torch.nn.TransformerEncoderLayer(D, N, F, **layer_options(torch, norm_first))
    torch_weights.randomise(twin, seed=4)
    tx = tensor(x)
    output = twin(tx, src_key_padding_mask=tensor(~flags))
    block = Block(config(norm).written_out().encoder[0].blocks[0], D)
    context = Context(Where(Valid(flags)))
    ours = lambda params, x: block.apply({"params": params}, x, None, context)[0]  # noqa: E731
    assert_all_close(*compared(output, twin, [tx], lambda read: torch_weights.encoder_block(read, N), ours, [x]))


@pytest.mark.parametrize("norm, norm_first", PLACEMENTS)
def test_decoder_layer(torch, tensor, norm, norm_first):
    x, memory, flags = normal(1, B, T, D), normal(2, B, S, D), there(SOURCE_LENGTHS, S)
    twin = torch.nn.TransformerDecoderLayer(D, N, F, **layer_options(torch, norm_first))
    torch_weights.randomise(twin, seed=5)
    tx, tmemory = tensor(x), tensor(memory)
    hidden = torch.triu(torch.ones(T, T, dtype=torch.bool), 1)
    output = twin(tx, tmemory, tgt_mask=hidden, memory_key_padding_mask=tensor(~flags))
    block = Block(config(norm).written_out().decoder[0].blocks[0], D)

    def ours(params, x, memory):
        context = Context(Where(Causal()), memory=memory, source=Where(Valid(flags)))
        return block.apply({"params": params}, x, None, context)[0]

    tree_of = lambda read: torch_weights.decoder_block(read, N)  # noqa: E731
    assert_all_close(*compared(output, twin, [tx, tmemory], tree_of, ours, [x, memory]))


def whole_twin(torch, norm_first):
    """torch.nn.Transformer, whose final norms stand there as published by torch before the norm, and not after it.

    Post-norm layers end in a norm already, so that Vaswani et al. 2017 have none after the last.
    """
    options = layer_options(torch, norm_first)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            encoder = decoder = None
            if not norm_first:
                layers = torch.nn.TransformerEncoderLayer(D, N, F, **options)
                encoder = torch.nn.TransformerEncoder(layers, ENCODER_LAYERS, enable_nested_tensor=False)
                layers = torch.nn.TransformerDecoderLayer(D, N, F, **options)
                decoder = torch.nn.TransformerDecoder(layers, DECODER_LAYERS)
            self.transformer = torch.nn.Transformer(
                D, N, ENCODER_LAYERS, DECODER_LAYERS, F, custom_encoder=encoder, custom_decoder=decoder, **options
            )
            self.table = torch.nn.Embedding(V, D, dtype=torch.float64)

        def embed(self, tokens):
            position = torch.arange(tokens.shape[1], dtype=torch.float64)[:, None]
            rates = 10_000.0 ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)
            code = torch.stack([torch.sin(position * rates), torch.cos(position * rates)], -1).reshape(-1, D)
            return self.table(tokens) * D**0.5 + code

        def forward(self, source, target):
            return torch.nn.functional.linear(
                self.transformer(
                    self.embed(source),
                    self.embed(target),
                    tgt_mask=torch.triu(torch.ones(target.shape[1], target.shape[1], dtype=torch.bool), 1),
                    src_key_padding_mask=source == 0,
                    memory_key_padding_mask=source == 0,
                ),
                self.table.weight,
            )

    return Model()


def whole_tree(read, norm_first):
    """`Transformer` from the module above, layers stacked on a leading axis."""

    def stacked(part, layers, block):
        trees = [block(torch_weights.under(f"transformer.{part}.layers.{i}.", read), N) for i in range(layers)]
        return {"rows_0": {"blocks_0": jax.tree.map(lambda *leaves: np.stack(leaves), *trees)}}

    tree = {
        "embedding": {"table": read("table.weight")},
        "encoder": stacked("encoder", ENCODER_LAYERS, torch_weights.encoder_block),
        "decoder": stacked("decoder", DECODER_LAYERS, torch_weights.decoder_block),
    }
    if norm_first:
        for part in ("encoder", "decoder"):
            tree[f"{part}_norm"] = torch_weights.norm(torch_weights.under(f"transformer.{part}.norm.", read))
    return {"params": tree}


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("norm, norm_first", PLACEMENTS)
def test_the_whole_model_trains_as_torchs(torch, norm, norm_first):
    """Logits, the label-smoothed loss over a padded batch, and the gradient of every weight."""
    rng = np.random.default_rng(6)
    batch = Pairs(
        np.where(there(SOURCE_LENGTHS, S), rng.integers(1, V, (B, S)), 0),
        np.where(there(TARGET_LENGTHS + 1, T + 1), rng.integers(1, V, (B, T + 1)), 0),
    )
    twin = whole_twin(torch, norm_first)
    torch_weights.randomise(twin, seed=7)
    source, target = (torch.tensor(part) for part in batch)
    expected = twin(source, target[:, :-1])
    loss = torch.nn.functional.cross_entropy(
        expected.reshape(-1, V), target[:, 1:].reshape(-1), label_smoothing=0.1, ignore_index=0, reduction="sum"
    )
    loss.backward()

    model = Transformer(config(norm), V)
    params = jax.tree.map(np.float32, whole_tree(torch_weights.values(twin), norm_first))
    objective = translation(model, smoothing=0.1)
    ours, gradient = jax.jit(jax.value_and_grad(lambda params: objective(params, batch, None).costs.loss))(params)
    logits_BTV = jax.jit(model.apply)(params, batch.source_BS, batch.target_BT[:, :-1])
    assert_all_close(
        (logits_BTV, ours, gradient),
        (expected.detach().numpy(), loss.item(), whole_tree(torch_weights.gradients(twin), norm_first)),
    )
