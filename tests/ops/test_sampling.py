"""Restricted distributions against the definitions and against transformers; drafts verified by enumeration."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from jaxformer.config.sampling import Sampling
from jaxformer.ops.sampling import leftover, likeliest_token, penalised, restricted, sample, verify
from tests.parity.compare import assert_close, normal

B, V = 5, 23

SETTINGS = [
    Sampling(),
    Sampling(temperature=0.7),
    Sampling(temperature=1.7, top_k=7),
    Sampling(top_k=V + 6),
    Sampling(top_p=0.83),
    Sampling(top_p=1e-9),
    Sampling(min_p=0.11),
    Sampling(min_p=1.0),
    Sampling(temperature=1.3, top_k=11, top_p=0.9, min_p=0.05),
    Sampling(temperature=0.6, top_k=3, top_p=0.95),
]


def softmax(logits):
    """In float64, over the last axis."""
    powers = np.exp(np.float64(logits) - np.max(logits, axis=-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def defined(logits_V, sampling):
    """The distribution as the papers define it, token by token in float64."""
    p_V = softmax(np.float64(logits_V) / sampling.temperature)
    ranked = sorted(range(len(p_V)), key=lambda token: -p_V[token])
    if sampling.top_k:
        ranked = ranked[: sampling.top_k]
    total, nucleus = p_V[ranked].sum(), []
    while ranked and (not nucleus or p_V[nucleus].sum() < sampling.top_p * total):
        nucleus.append(ranked.pop(0))
    kept = [token for token in nucleus if p_V[token] >= sampling.min_p * p_V[nucleus[0]]]
    return np.where(np.isin(range(len(p_V)), kept), p_V, 0) / p_V[kept].sum()


def test_the_first_of_the_likeliest_is_taken():
    logits_BV = np.random.default_rng(0).integers(0, 4, (64, V)).astype(np.float32)
    logits_BV[:3] = np.array([[-np.inf], [0.0], [np.nan]])
    logits_BV[3] = -np.arange(V)[::-1]
    found_B = np.asarray(jax.jit(jax.vmap(likeliest_token))(logits_BV))
    np.testing.assert_array_equal(found_B[[0, 1, 3]], [0, 0, V - 1])
    np.testing.assert_array_equal(found_B[4:], logits_BV[4:].argmax(1))
    assert found_B[2] == V - 1 and found_B.dtype == jnp.int32


@pytest.mark.parametrize("sampling", SETTINGS, ids=repr)
def test_restricted_is_the_definition(sampling):
    logits_BV = 3 * normal(0, B, V)
    actual_BV = jax.vmap(partial(restricted, sampling=sampling))(logits_BV)
    expected_BV = np.stack([defined(logits_V, sampling) for logits_V in logits_BV])
    np.testing.assert_array_equal(np.isfinite(actual_BV), expected_BV > 0)
    assert_close(softmax(actual_BV), expected_BV, 1e-6)


@pytest.mark.parametrize("sampling", SETTINGS, ids=repr)
def test_restricted_is_that_of_transformers(torch, sampling):
    processors = pytest.importorskip("transformers.generation.logits_process")
    logits_BV = 3 * normal(1, B, V)
    chain = [processors.TemperatureLogitsWarper(float(sampling.temperature))]
    if sampling.top_k:
        chain.append(processors.TopKLogitsWarper(sampling.top_k))
    chain += [processors.TopPLogitsWarper(sampling.top_p), processors.MinPLogitsWarper(sampling.min_p)]
    expected_BV = torch.tensor(logits_BV)
    for processor in chain:
        expected_BV = processor(None, expected_BV)
    actual_BV, expected_BV = jax.vmap(partial(restricted, sampling=sampling))(logits_BV), expected_BV.numpy()
    np.testing.assert_array_equal(np.isfinite(actual_BV), np.isfinite(expected_BV))
    assert_close(softmax(actual_BV), softmax(expected_BV), 1e-6)


@pytest.mark.parametrize("penalty", [0.7, 1.0, 1.3])
def test_the_penalty_is_that_of_transformers(torch, penalty):
    processors = pytest.importorskip("transformers.generation.logits_process")
    logits_BV, tokens_BT = 3 * normal(2, B, V), np.random.default_rng(3).integers(0, V, (B, 7))
    expected_BV = processors.RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor(tokens_BT), torch.tensor(logits_BV))
    seen_BV = np.stack([np.isin(np.arange(V), tokens_T) for tokens_T in tokens_BT])
    actual_BV = jax.vmap(partial(penalised, penalty=penalty))(logits_BV, seen_BV)
    assert_close(actual_BV, expected_BV, 1e-6)


def test_a_penalty_only_touches_what_was_seen_and_makes_it_less_likely():
    logits_V, seen_V = normal(4, V), np.arange(V) % 3 == 0
    change_V = penalised(logits_V, seen_V, 1.5) - logits_V
    np.testing.assert_array_equal(change_V[~seen_V], 0)
    assert (change_V[seen_V] < 0).all()


@pytest.mark.parametrize("temperature", [0, 1e-30])
def test_the_coldest_distribution_is_the_likeliest_token(temperature):
    logits_V, sampling = 100 * normal(5, V), Sampling(temperature)
    assert_close(jax.nn.softmax(restricted(logits_V, sampling)), np.arange(V) == logits_V.argmax())
    assert sample(jax.random.key(0), logits_V, sampling) == logits_V.argmax()


def test_greedy_takes_the_first_of_equals():
    logits_V = np.float32([1, 3, 2, 3, 3])
    assert sample(jax.random.key(0), logits_V, Sampling(temperature=0)) == 1
    np.testing.assert_array_equal(np.exp(restricted(logits_V, Sampling(temperature=0))), np.eye(5)[1])


jitted = jax.jit(restricted, static_argnames="sampling")


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SETTINGS))
def test_what_is_banned_stays_banned_and_the_likeliest_token_stays(seed, sampling):
    """With halves of logits there are many ties."""
    rng = np.random.default_rng(seed)
    logits_V = (rng.integers(-6, 6, V) / 2).astype(np.float32)
    banned_V = rng.random(V) < 0.4
    banned_V[rng.integers(V)] = False
    logits_V[banned_V] = -np.inf
    actual_V = np.asarray(jitted(logits_V, sampling))
    assert np.isneginf(actual_V[banned_V]).all()
    assert actual_V.max() == 0 and (logits_V[actual_V == 0] == logits_V.max()).all()
    assert not np.isnan(actual_V).any()


def test_what_is_off_is_not_computed():
    trace = str(jax.make_jaxpr(partial(restricted, sampling=Sampling(temperature=0.5)))(jnp.zeros(V)))
    assert not any(word in trace for word in ("sort", "top_k", "cumsum", "exp"))


def counts(tokens, size):
    return np.bincount(np.asarray(tokens).reshape(-1), minlength=size)


def assert_drawn_from(drawn, probabilities):
    """No draw where the probability is 0, and elsewhere frequencies that a fair draw shows 999 times in 1000."""
    drawn, probabilities = drawn.reshape(-1), probabilities.reshape(-1)
    assert not drawn[probabilities < 1e-9].any()
    possible = probabilities >= 1e-9
    expected = probabilities[possible] / probabilities[possible].sum() * drawn.sum()
    assert chisquare(drawn[possible], expected).pvalue > 1e-3


def test_samples_are_drawn_from_the_restricted_distribution():
    logits_V, sampling = normal(6, V), SETTINGS[8]
    draw = jax.jit(jax.vmap(partial(sample, sampling=sampling), in_axes=(0, None)))
    tokens = draw(jax.random.split(jax.random.key(7), 20_000), logits_V)
    assert tokens.dtype == jnp.int32
    assert_drawn_from(counts(tokens, V), defined(logits_V, sampling))


# Speculative decoding. A tiny language: what may come next depends on everything before, and some of it never comes.
K, W = 2, 3
SEQUENCES = list(itertools.product(range(W), repeat=K + 1))


def language(seed):
    """Probabilities of the next of W tokens for every prefix of at most K tokens."""
    rng = np.random.default_rng(seed)
    prefixes = [prefix for length in range(K + 1) for prefix in itertools.product(range(W), repeat=length)]
    rows = rng.dirichlet(np.ones(W), len(prefixes)) * (rng.random((len(prefixes), W)) < 0.8)
    rows[rows.sum(1) == 0, 1] = 1
    return dict(zip(prefixes, np.float32(rows / rows.sum(1, keepdims=True)), strict=True))


def outcomes(draft_tokens_K, draft_KV, target_K1V):
    """The probability of every (tokens that stand, token that follows), in float64, from the rule of the papers."""
    reached, table = 1.0, np.zeros(target_K1V.shape)
    for i, token in enumerate(draft_tokens_K):
        stands = min(1.0, np.float64(target_K1V[i, token]) / draft_KV[i, token])
        table[i] = reached * (1 - stands) * np.float64(leftover(target_K1V[i], draft_KV[i]))
        reached *= stands
    table[-1] = reached * target_K1V[-1]
    return table


def rows(language, tokens_K):
    return np.stack([language[tokens_K[:i]] for i in range(K + 1)])


@pytest.mark.parametrize("seed", range(3))
def test_what_stands_and_follows_is_the_targets_distribution(seed):
    """Every draft and every outcome; what is still missing after the follower is drawn from the target itself."""
    target, draft = language(seed), language(seed + 100)
    law = {tokens: 0.0 for tokens in SEQUENCES}
    for drafted in itertools.product(range(W), repeat=K):
        chance = np.prod([np.float64(draft[drafted[:i]][drafted[i]]) for i in range(K)])
        if not chance:
            continue
        table = outcomes(drafted, rows(draft, drafted)[:K], rows(target, drafted))
        for standing, follower in itertools.product(range(K + 1), range(W)):
            head = (*drafted[:standing], follower)
            for tokens in (tokens for tokens in SEQUENCES if tokens[: len(head)] == head):
                rest = np.prod([np.float64(target[tokens[:i]][tokens[i]]) for i in range(len(head), K + 1)])
                law[tokens] += chance * table[standing, follower] * rest
    expected = [np.prod([np.float64(target[tokens[:i]][tokens[i]]) for i in range(K + 1)]) for tokens in SEQUENCES]
    assert_close(np.array([law[tokens] for tokens in SEQUENCES]), np.array(expected), 1e-6)


verify_many = jax.jit(jax.vmap(verify, in_axes=(0, None, None, None)))


@pytest.mark.parametrize("seed", range(3))
def test_verified_drafts_follow_the_rule(seed):
    """`verify` against the enumerated outcomes, which the test above shows to be the target's distribution."""
    drafted, V = (4, 0, 5), 7
    draft_KV, target_K1V = np.split(np.random.default_rng(seed).dirichlet(np.ones(V), 3 + 4).astype(np.float32), [3])
    keys = jax.random.split(jax.random.key(seed), 20_000)
    accepted, token = verify_many(keys, np.int32(drafted), draft_KV, target_K1V)
    assert accepted.dtype == token.dtype == jnp.int32
    assert_drawn_from(counts(accepted * V + token, 4 * V), outcomes(drafted, draft_KV, target_K1V))


@pytest.mark.parametrize("agreed", range(4))
def test_greedy_drafts_end_in_the_targets_own_tokens(agreed):
    """Drafts of 3 tokens that differ from the target's in one place, or in none."""
    target, keys = np.array([5, 2, 7, 3]), jax.random.split(jax.random.key(0), 101)
    drafted = np.where(np.arange(3) == agreed, 1, target[:3]).astype(np.int32)
    one_hot = np.eye(11, dtype=np.float32)
    accepted, token = verify_many(keys, drafted, one_hot[drafted], one_hot[target])
    assert (np.asarray(accepted) == agreed).all() and (np.asarray(token) == target[agreed]).all()


def test_a_draft_of_the_target_itself_always_stands():
    target_K1V = np.random.default_rng(0).dirichlet(np.ones(W), K + 1).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 20_000)
    accepted, token = verify_many(keys, np.int32([2, 0]), target_K1V[:K], target_K1V)
    assert (np.asarray(accepted) == K).all()
    assert_drawn_from(counts(token, W), np.float64(target_K1V[K]))


def test_models_that_agree_leave_the_target():
    p_V = np.float32([0.2, 0.0, 0.8])
    np.testing.assert_array_equal(leftover(p_V, p_V), p_V)


def test_a_target_without_a_row_after_the_draft_is_refused():
    with pytest.raises(ValueError, match=r"^target_probabilities must be \[3, 5\], got \[2, 5\]$"):
        verify(jax.random.key(0), jnp.zeros(2, jnp.int32), jnp.ones((2, 5)) / 5, jnp.ones((2, 5)) / 5)
