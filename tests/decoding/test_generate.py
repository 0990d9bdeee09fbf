"""Generation: token by token it is what the whole forward pass says, in any company and in any portions."""

from collections import Counter
from functools import cache, partial

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxformer.config.blocks import Block, Gated, Group, Latent, MultiHead, RmsNorm, SandwichNorm
from jaxformer.config.experts import MixtureOfExperts
from jaxformer.config.model import DecoderConfig
from jaxformer.config.positions import Alibi, Rotary
from jaxformer.config.sampling import Sampling
from jaxformer.decoding.generate import begin, generate, keys_of, read_on, write
from jaxformer.decoding.speculative import speculate
from jaxformer.models.decoder import Decoder
from jaxformer.ops.linear import ByOutput
from tests.parity.compare import random_like

V, D, H, T, NEW = 23, 2 * 7, 6, 11, 13
GREEDY = Sampling(temperature=0)
LENGTHS = np.array([T, 3, 1, 7])
TOKENS = np.random.default_rng(0).integers(0, V, (4, T)).astype(np.int32)


def block(attention, **more):
    return Block(attention, Gated(17), RmsNorm(), **more)


GLOBAL = block(MultiHead(4, 2, H, bias=False, rotary=Rotary(), query_key_norm=RmsNorm()))
LOCAL = block(
    MultiHead(4, 1, H, rotary=Rotary(fraction=2 / 3), window=5, sinks=True, softcap=3.0), placement=SandwichNorm()
)
LATENT = Block(Latent(3, 8, H, 4, 5, query_width=7), MixtureOfExperts(5, 2, 9, shared=3), RmsNorm())
CONFIGS = {
    "global": DecoderConfig(D, (Group((GLOBAL,), 2),), context=64),
    "windows and global": DecoderConfig(D, (Group((LOCAL, LOCAL, GLOBAL), 2),), context=64, tied_output=False),
    "latent, experts": DecoderConfig(D, (Group((GLOBAL,)), Group((LATENT,), 2)), context=64, softcap=4.0),
    "alibi": DecoderConfig(D, (Group((block(MultiHead(3, 3, H)),), 2),), relative=Alibi(), context=64),
}


@cache
def made(name, seed=1):
    """A model with random weights, and its compiled forward pass."""
    model = Decoder(CONFIGS[name], V)
    shapes = jax.eval_shape(model.init, jax.random.key(0), TOKENS)
    params = random_like(nn.meta.unbox(shapes), seed=seed)
    return model, params, jax.jit(partial(model.apply, params))


@cache
def likeliest(name):
    """What a model writes after every text with the likeliest token at each place."""
    model, params, _ = made(name)
    return generate(model, params, TOKENS, LENGTHS, count=NEW, sampling=GREEDY)


every_model = pytest.mark.parametrize("name", CONFIGS)


@every_model
def test_every_next_token_is_the_likeliest_of_the_whole_forward_pass(name):
    (_, _, forward), written = made(name), likeliest(name)
    np.testing.assert_array_equal(written.count_B, NEW)
    for row, length in enumerate(LENGTHS):
        text = np.zeros((1, T + NEW), np.int32)
        text[0, :length], text[0, length : length + NEW] = TOKENS[row, :length], written.tokens_BN[row]
        says = np.asarray(forward(text))[0, length - 1 : length + NEW - 1]
        np.testing.assert_array_equal(says.argmax(-1), written.tokens_BN[row])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["windows and global", "latent, experts"])
def test_layers_apart_write_the_same(name):
    model, params, _ = made(name)
    apart, rows = model.apart(params)
    assert all(group.times == len(group.blocks) == 1 for group in apart.config.groups)
    written = [generate(*each, TOKENS, LENGTHS, count=NEW, seed=2) for each in ((model, params), (apart, rows))]
    np.testing.assert_array_equal(*(w.tokens_BN for w in written))
    np.testing.assert_allclose(*(m.apply(p, TOKENS) for m, p in ((model, params), (apart, rows))), atol=1e-5)


def test_apart_a_cpu_has_the_matrices_of_plain_layers_by_outputs():
    """Latents' keys and values, experts and tables are used in other ways too."""
    model = Decoder(CONFIGS["latent, experts"], V)
    shapes = nn.meta.unbox(jax.eval_shape(model.init, jax.random.key(0), TOKENS))
    apart = jax.eval_shape(lambda params: model.apart(params)[1], shapes)
    leaves = jax.tree_util.tree_leaves_with_path(apart, is_leaf=lambda leaf: isinstance(leaf, ByOutput))
    found = {jax.tree_util.keystr(path[2:], simple=True, separator="/"): leaf for path, leaf in leaves}
    turned = {name: leaf.rows.shape for name, leaf in found.items() if isinstance(leaf, ByOutput)}
    gated = {"up": (1, 17, D), "gate": (1, 17, D), "down": (1, D, 17)}
    heads = {"query": (1, 4, H, D), "key": (1, 2, H, D), "value": (1, 2, H, D), "output": (1, D, 4, H)}
    assert {name: turned[f"rows_0/blocks_0/feed_forward/{name}"] for name in gated} == gated
    assert {name: turned[f"rows_0/blocks_0/attention/{name}"] for name in heads} == heads
    others = {name.split("/", 2)[2] for name in turned if not name.startswith("rows_0")}
    assert others == {f"feed_forward/shared/{name}" for name in gated}


@every_model
def test_logits_from_the_cache_are_those_of_the_whole(name):
    """The prompt in portions, then tokens one by one, against one pass."""
    model, params, forward = made(name)
    whole = np.asarray(forward(TOKENS))
    writing = begin(model, params, TOKENS[:, :4], np.array([4, 4, 4, 4]), room=T)
    np.testing.assert_allclose(writing.logits_BV, whole[:, 3], atol=2e-5)
    writing = read_on(model, params, writing, TOKENS[:, 4:9], np.array([5, 5, 5, 5]))
    np.testing.assert_allclose(writing.logits_BV, whole[:, 8], atol=2e-5)
    for at in (9, 10):
        writing = read_on(model, params, writing, TOKENS[:, at : at + 1], np.array([1, 1, 1, 1]))
        np.testing.assert_allclose(writing.logits_BV, whole[:, at], atol=2e-5)


@pytest.mark.slow
def test_portions_and_company_change_nothing():
    model, params, _ = made("windows and global")
    sampling = Sampling(temperature=0.8, top_k=9, top_p=0.9, repetition_penalty=1.3)
    at_once = generate(model, params, TOKENS, LENGTHS, count=NEW, sampling=sampling, seed=3).tokens_BN
    writing = begin(model, params, TOKENS, LENGTHS, room=T + NEW)
    parts = []
    for count in (1, 4, 8):
        part, writing = write(model, params, writing, keys_of(3, 4), count=count, sampling=sampling)
        parts.append(part.tokens_BN)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), at_once)
    alone = generate(model, params, TOKENS[:1], LENGTHS[:1], count=NEW, sampling=sampling, seed=3).tokens_BN
    np.testing.assert_array_equal(alone, at_once[:1])


def test_a_sequence_stops_by_itself():
    (model, params, _), free = made("global"), likeliest("global").tokens_BN
    stop = int(free[1, 4])
    written = generate(model, params, TOKENS, LENGTHS, count=NEW, sampling=GREEDY, stops=(stop, 999), pad=21)
    for row in range(4):
        ends = np.flatnonzero(np.asarray(free[row]) == stop)
        count = int(ends[0]) + 1 if len(ends) else NEW
        assert written.count_B[row] == count
        np.testing.assert_array_equal(written.tokens_BN[row, :count], free[row, :count])
        assert (np.asarray(written.tokens_BN[row, count:]) == 21).all()


def test_text_goes_on_after_a_stop():
    """What is read after an ended text stands after its stop token."""
    model, params, forward = made("global")
    stop = int(likeliest("global").tokens_BN[0, 2])
    writing = begin(model, params, TOKENS[:1], LENGTHS[:1], room=40)
    written, writing = write(model, params, writing, keys_of(0, 1), count=NEW, sampling=GREEDY, stops=(stop,))
    said = np.asarray(written.tokens_BN)[0, : int(written.count_B[0])]
    more = TOKENS[1:2, :5]
    writing = read_on(model, params, writing, np.pad(more, [(0, 0), (0, 3)]), np.array([5]))
    whole = np.concatenate([TOKENS[:1], said[None], more], axis=1)
    np.testing.assert_allclose(writing.logits_BV, np.asarray(forward(whole))[:, -1], atol=2e-5)


def test_room_must_hold_the_prompt():
    model, params, _ = made("global")
    with pytest.raises(ValueError, match="room must hold the prompts, got room=5 for 11 tokens"):
        begin(model, params, TOKENS, LENGTHS, room=5)


@pytest.mark.parametrize(
    ("name", "ahead"),
    [("global", 3), ("windows and global", 1), ("windows and global", 3), ("latent, experts", 3), ("alibi", 1)],
)
def test_a_draft_changes_no_greedy_token(name, ahead):
    """Drafts by another model, and by the model itself, all of which stand."""
    model, params, _ = made(name)
    expected = likeliest(name).tokens_BN[:1]
    for seed in (1, 2):
        draft, draft_params, _ = made(name, seed)
        options = dict(count=NEW, ahead=ahead, sampling=GREEDY)
        found = speculate(model, params, draft, draft_params, TOKENS[:1], LENGTHS[:1], jax.random.key(5), **options)
        np.testing.assert_array_equal(found.written.tokens_BN, expected)
        assert 0 <= found.accepted <= found.drafted
        if seed == 1:
            assert found.accepted == found.drafted


def test_a_draft_stops_where_the_target_does():
    model, params, _ = made("windows and global")
    draft, draft_params, _ = made("global")
    free = likeliest("windows and global").tokens_BN
    stop = int(free[0, 6])
    stopped = generate(model, params, TOKENS[:1], LENGTHS[:1], count=NEW, sampling=GREEDY, stops=(stop,))
    options = dict(count=NEW, sampling=GREEDY, stops=(stop,))
    found = speculate(model, params, draft, draft_params, TOKENS[:1], LENGTHS[:1], jax.random.key(5), **options)
    assert found.written.count_B[0] == stopped.count_B[0]
    np.testing.assert_array_equal(found.written.tokens_BN, stopped.tokens_BN)


@pytest.mark.slow
def test_a_draft_changes_no_distribution():
    """Pairs of tokens drawn with a draft against the exact probabilities of the target, by chi-square."""
    model, params, forward = made("global")
    draft, draft_params, _ = made("global", 2)
    sampling, draws = Sampling(temperature=2.0, top_k=3), 3000
    one = partial(
        speculate, model, params, draft, draft_params, TOKENS[:1], LENGTHS[:1], count=3, ahead=2, sampling=sampling
    )
    keys = jax.random.split(jax.random.key(9), draws)
    tokens = np.asarray(jax.lax.map(lambda key: one(key).written.tokens_BN[0], keys, batch_size=100))

    def kept(logits):
        top = np.argsort(logits)[-3:]
        p = np.exp(logits[top] / 2.0 - logits[top].max() / 2.0)
        return dict(zip(top.tolist(), p / p.sum(), strict=True))

    expected = {}
    for a, pa in kept(np.asarray(forward(TOKENS[:1]), float)[0, -1]).items():
        after = np.concatenate([TOKENS[:1], [[a]]], axis=1).astype(np.int32)
        for b, pb in kept(np.asarray(forward(after), float)[0, -1]).items():
            expected[a, b] = pa * pb
    seen = Counter(map(tuple, tokens[:, :2].tolist()))
    assert set(seen) <= set(expected)
    statistic = sum((seen[pair] - draws * p) ** 2 / (draws * p) for pair, p in expected.items())
    assert statistic < 26.1, statistic  # 8 degrees of freedom, p = 0.001
