"""How far attention follows links: a mean over the queries that have one, written out as loops."""

import numpy as np
import pytest

from jaxformer.analysis.links import after_earlier, followed, followed_and_by_chance, of_another

L, B, N, T, S = 2, 5, 3, 7, 11


@pytest.fixture
def weights():
    rng = np.random.default_rng(0)
    return rng.dirichlet(np.ones(S), (L, B, N, T)).astype(np.float32)


@pytest.fixture
def links():
    return np.random.default_rng(1).random((B, T, S)) < 0.1


def test_it_is_the_weight_of_the_linked_keys_by_query_that_has_some(weights, links):
    read, queries = np.zeros((L, N)), 0
    for b in range(B):
        for t in range(T):
            queries += links[b, t].any()
            for s in range(S):
                read += weights[:, b, :, t, s] * links[b, t, s]
    np.testing.assert_allclose(followed(weights, links), read / queries, rtol=1e-5)


def test_a_head_that_follows_every_link_has_one_and_one_that_reads_all_alike_the_share_of_its_key(links):
    links = links & (links.cumsum(-1) == 1)
    perfect_BNTS = np.broadcast_to(links[:, None], (B, N, T, S)).astype(np.float32)
    np.testing.assert_allclose(followed(perfect_BNTS, links), 1.0)
    np.testing.assert_allclose(followed(np.full((B, N, T, S), 1 / S, np.float32), links), 1 / S, rtol=1e-5)


def test_without_links_it_is_zero(weights):
    assert (np.asarray(followed(weights, np.zeros((B, T, S), bool))) == 0).all()


def test_links_of_another_sentence_are_those_before_it_in_the_batch_as_far_as_they_can_be_read(links):
    readable = np.ones((B, T, S), bool)
    readable[2, :, 3:] = False
    other = np.asarray(of_another(links, readable))
    np.testing.assert_array_equal(other[1], links[0])
    np.testing.assert_array_equal(other[0], links[-1])
    np.testing.assert_array_equal(other[2], links[1] & (np.arange(S) < 3))


def test_a_link_that_another_sentence_has_too_is_none_by_chance(weights, links):
    readable = np.ones((B, T, S), bool)
    own, chance = followed_and_by_chance(weights, np.broadcast_to(links[0], links.shape), readable)
    assert (np.asarray(own) > 0).all() and (np.asarray(chance) == 0).all()
    own, chance = followed_and_by_chance(weights, links, readable)
    np.testing.assert_array_equal(own, followed(weights, links))
    np.testing.assert_array_equal(chance, followed(weights, np.roll(links, 1, axis=0) & ~links))


def test_a_token_is_linked_with_those_that_followed_it_earlier():
    tokens = np.random.default_rng(2).integers(1, 4, (B, T))
    expected = np.zeros((B, T, T), bool)
    for b in range(B):
        for t in range(T):
            for s in range(1, t + 1):
                expected[b, t, s] = tokens[b, s - 1] == tokens[b, t]
    np.testing.assert_array_equal(after_earlier(tokens), expected)
