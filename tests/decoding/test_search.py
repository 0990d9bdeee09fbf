"""Greedy decoding and beam search against brute force, a search written with lists, and the model without its cache."""

from functools import cache, partial
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.config.model import Bahdanau, Gru, Lstm, RnnConfig, TransformerConfig
from jaxformer.decoding.beam import beam
from jaxformer.decoding.greedy import greedy
from jaxformer.decoding.scoring import length_penalty
from jaxformer.models.rnn import Rnn
from jaxformer.models.seq2seq import Transformer

PAD, BOS, EOS = 0, 1, 2
MARKS = {"pad": PAD, "bos": BOS, "eos": EOS}
B, S, V = 11, 5, 7
LENGTH = 13


def transformer(vocabulary: int) -> Transformer:
    config = TransformerConfig(width=6, encoder_layers=1, decoder_layers=2, heads=3, feed_forward=13, tied_output=False)
    return Transformer(config, vocabulary)


def rnn(vocabulary: int) -> Rnn:
    return Rnn(RnnConfig(Gru(), embedding=5, width=6, layers=1, attention=Bahdanau(3)), vocabulary)


def plain_rnn(vocabulary: int) -> Rnn:
    return Rnn(RnnConfig(Lstm(), embedding=5, width=6, layers=1), vocabulary)


def weights(model: nn.Module, seed: int, peak: float = 2.5) -> Any:
    """Random weights, stretched so that some tokens are much likelier than others."""
    tokens, random = jnp.zeros((1, 2), jnp.int32), np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: nn.unbox(model.init(jax.random.key(0), tokens, tokens)))
    return jax.tree.map(lambda x: np.float32(peak * random.normal(size=x.shape) / x.shape[-1] ** 0.5), shapes)


def sources(vocabulary: int, seed: int = 5, rows: int = B, width: int = S) -> np.ndarray:
    """Sentences of every length from 1 to `width`."""
    random = np.random.default_rng(seed)
    lengths_B1 = 1 + np.arange(rows)[:, None] % width
    return np.where(np.arange(width) < lengths_B1, random.integers(2, vocabulary, (rows, width)), PAD).astype(np.int32)


class Case(NamedTuple):
    model: nn.Module
    params: Any
    source_BS: np.ndarray


@cache
def case(name: str, seed: int, vocabulary: int = V) -> Case:
    model = {"transformer": transformer, "rnn": rnn, "plain_rnn": plain_rnn}[name](vocabulary)
    return Case(model, weights(model, seed), sources(vocabulary, seed))


@cache
def compiled(model: nn.Module, beams: int | None, length: int) -> Any:
    """A search of (params, source_BS, alpha); greedy for `beams` None."""
    search = greedy if beams is None else partial(beam, beams=beams)
    return jax.jit(
        lambda params, source_BS, alpha: search(model, params, source_BS, length=length, alpha=alpha, **MARKS)
    )


def decode(c: Case, beams: int | None, length: int = LENGTH, alpha: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and scores."""
    tokens_BT, scores_B = compiled(c.model, beams, length)(c.params, c.source_BS, alpha)
    return np.asarray(tokens_BT), np.asarray(scores_B)


@partial(jax.jit, static_argnums=0)
def full_logp(model: nn.Module, params: Any, source_BS: Any, target_BT: Any) -> jax.Array:
    """log p of every token after every prefix, without a cache."""
    return jax.nn.log_softmax(model.apply(params, source_BS, target_BT), axis=-1)


def after_bos(tokens_BT: np.ndarray) -> np.ndarray:
    return np.pad(tokens_BT, [(0, 0), (1, 0)], constant_values=BOS)


def log_probability(case: Case, tokens_BT: np.ndarray) -> np.ndarray:
    """log p(sentence | source), all at once, for tokens that end with EOS and padding."""
    logp_BTV = np.asarray(full_logp(case.model, case.params, case.source_BS, after_bos(tokens_BT)[:, :-1]), np.float64)
    token_logp_BT = np.take_along_axis(logp_BTV, tokens_BT[..., None], axis=-1)[..., 0]
    return np.sum(np.where(tokens_BT == PAD, 0.0, token_logp_BT), axis=1)


def penalty(length: Any, alpha: float) -> Any:
    return ((5 + np.asarray(length)) / 6) ** alpha


every_model = pytest.mark.parametrize("name", ["transformer", "rnn"])
# Weights for which sentences end early, late and not at all.
seeds = pytest.mark.parametrize("seed", [2, 4, 6])


def test_the_penalty_is_that_of_gnmt():
    np.testing.assert_allclose(length_penalty(7, 0.6), 2.0**0.6, rtol=1e-6)
    np.testing.assert_allclose(length_penalty(jnp.asarray([1, 13]), 1.0), [1.0, 3.0], rtol=1e-6)
    np.testing.assert_allclose(length_penalty(29, 0.0), 1.0)


@every_model
@seeds
def test_greedy_takes_the_likeliest_token_of_the_model_without_its_cache(name, seed):
    c = case(name, seed)
    tokens_BT = np.full((B, LENGTH), PAD, np.int32)
    ended_B = np.zeros(B, bool)
    for t in range(LENGTH):
        logp_BV = np.array(full_logp(c.model, c.params, c.source_BS, after_bos(tokens_BT)[:, :-1]))[:, t]
        logp_BV[:, [PAD, BOS]] = -np.inf
        best_B = np.full(B, EOS) if t == LENGTH - 1 else logp_BV.argmax(axis=1)
        tokens_BT[:, t] = np.where(ended_B, PAD, best_B)
        ended_B |= best_B == EOS
    np.testing.assert_array_equal(decode(c, None)[0], tokens_BT)


@pytest.mark.parametrize("beams", [None, 3])
@pytest.mark.parametrize(
    "name, length", [("transformer", LENGTH), ("transformer", 3), ("rnn", LENGTH), ("plain_rnn", LENGTH)]
)
def test_the_score_is_the_log_probability_over_the_penalty(name, beams, length):
    """Cached = recomputed, the end mark and the cut at `length` included."""
    c, alpha = case(name, 6), 0.7
    tokens_BT, scores_B = decode(c, beams, length, alpha)
    lengths_B = np.sum(tokens_BT != PAD, axis=1)
    np.testing.assert_allclose(scores_B, log_probability(c, tokens_BT) / penalty(lengths_B, alpha), rtol=2e-5)
    assert (tokens_BT[np.arange(B), lengths_B - 1] == EOS).all()
    assert (np.sum(tokens_BT == EOS, axis=1) == 1).all()
    assert not (tokens_BT == BOS).any()
    assert all((row[n:] == PAD).all() for row, n in zip(tokens_BT, lengths_B, strict=True))


@every_model
@seeds
def test_one_beam_is_greedy(name, seed):
    c = case(name, seed)
    for length, alpha in ((LENGTH, 0.0), (LENGTH, 1.0), (3, 0.6)):
        (one_BT, one_B), (other_BT, other_B) = (decode(c, beams, length, alpha) for beams in (None, 1))
        np.testing.assert_array_equal(one_BT, other_BT)
        np.testing.assert_allclose(one_B, other_B, rtol=1e-6)


@every_model
@seeds
def test_no_beam_scores_below_greedy(name, seed):
    for alpha in (0.0, 0.6, 1.5):
        greedy_B, beam_B = (decode(case(name, seed), beams, alpha=alpha)[1] for beams in (None, 3))
        assert (beam_B >= greedy_B - 1e-5 * np.abs(greedy_B)).all()


@every_model
def test_a_beam_finds_more_than_greedy(name):
    """For some weights; of others the likeliest sentence is the greedy one."""
    gains = [decode(case(name, seed), 3)[1] - decode(case(name, seed), None)[1] for seed in range(12)]
    assert np.max(gains) > 1e-3


def sentences(vocabulary: int, length: int) -> list[list[int]]:
    """Every sentence of at most `length` tokens, the end mark included."""
    words, prefixes, found = [v for v in range(vocabulary) if v not in MARKS.values()], [[]], []
    for _ in range(length):
        found += [[*prefix, EOS] for prefix in prefixes]
        prefixes = [[*prefix, word] for prefix in prefixes for word in words]
    return found


@every_model
@pytest.mark.parametrize("alpha", [0.0, 0.6, 3.0])
def test_beams_enough_for_everything_find_the_best_sentence_of_all(name, alpha):
    vocabulary, length = 5, 4
    c = case(name, 2, vocabulary)
    every = sentences(vocabulary, length)
    tokens_NT = np.array([[*sentence, *[PAD] * (length - len(sentence))] for sentence in every], np.int32)
    lengths_N = np.array([len(sentence) for sentence in every])
    found_BT, found_B = decode(c, vocabulary**length, length, alpha)
    for row, source_S in enumerate(c.source_BS):
        one = c._replace(source_BS=np.tile(source_S, (len(every), 1)))
        scores_N = log_probability(one, tokens_NT) / penalty(lengths_N, alpha)
        np.testing.assert_array_equal(found_BT[row], tokens_NT[scores_N.argmax()])
        np.testing.assert_allclose(found_B[row], scores_N.max(), rtol=2e-5)


def search_with_lists(c: Case, source_S: np.ndarray, beams: int, alpha: float) -> tuple[list[int], float]:
    """Beam search for one sentence, as its documentation tells it, without a bound, a cache or arrays."""
    alive, ended, greedy_path = [([], 0.0)], [], []
    while len(ended) < beams or greedy_path in [tokens for tokens, _ in alive]:
        step = len(alive[0][0])
        rows = np.full((beams, LENGTH), PAD, np.int32)
        for row, (tokens, _) in enumerate(alive):
            rows[row, :step] = tokens
        source = np.tile(source_S, (beams, 1))
        logp_KV = np.asarray(full_logp(c.model, c.params, source, after_bos(rows)[:, :-1]), np.float64)[:, step]
        allowed = [EOS] if step == LENGTH - 1 else [v for v in range(V) if v not in (PAD, BOS)]
        every = [([*tokens, v], logp + logp_KV[row, v]) for row, (tokens, logp) in enumerate(alive) for v in allowed]
        every.sort(key=lambda candidate: -candidate[1])
        follows = [tokens for tokens, _ in every if tokens[:-1] == greedy_path]
        if follows:
            greedy_path = follows[0]
            every.sort(key=lambda candidate: candidate[0] != greedy_path)
        ended += [(tokens, logp / penalty(step + 1, alpha)) for tokens, logp in every[:beams] if tokens[-1] == EOS]
        alive = [(tokens, logp) for tokens, logp in every if tokens[-1] != EOS][:beams]
        if not alive:
            break
    return max(ended, key=lambda sentence: sentence[1])


@every_model
@seeds
def test_beam_search_is_the_one_written_with_lists(name, seed):
    c, alpha = case(name, seed), {2: 0.6, 4: 1.2, 6: 0.0}[seed]
    tokens_BT, scores_B = decode(c, 3, alpha=alpha)
    for row, source_S in enumerate(c.source_BS):
        tokens, score = search_with_lists(c, source_S, 3, alpha)
        assert [v for v in tokens_BT[row].tolist() if v != PAD] == tokens
        np.testing.assert_allclose(scores_B[row], score, rtol=2e-5)


@every_model
@pytest.mark.parametrize("beams", [None, 3])
def test_a_sentence_does_not_see_its_batch_or_padding(name, beams):
    c = case(name, 6)
    tokens_BT, scores_B = decode(c, beams)
    # Rows without a source fill up a batch: nothing is made of them.
    more_BT, more_B = decode(c._replace(source_BS=np.pad(c.source_BS, [(0, 2), (0, 3)])), beams)
    np.testing.assert_array_equal(more_BT, np.pad(tokens_BT, [(0, 2), (0, 0)], constant_values=PAD))
    np.testing.assert_allclose(more_B, np.pad(scores_B, (0, 2)), rtol=1e-5)
    for row in range(B):
        alone_1T, alone_1 = decode(c._replace(source_BS=c.source_BS[row : row + 1]), beams)
        np.testing.assert_array_equal(alone_1T[0], tokens_BT[row])
        np.testing.assert_allclose(alone_1[0], scores_B[row], rtol=1e-5)


@every_model
@pytest.mark.parametrize("beams", [None, 3])
def test_more_room_does_not_matter_to_a_search_that_has_ended(name, beams):
    # With alpha = 0 the bound on what may still come does not depend on the length.
    short_BT, long_BT = (decode(case(name, 4), beams, length, alpha=0.0)[0] for length in (LENGTH, 19))
    ended_B = np.sum(short_BT != PAD, axis=1) < LENGTH
    assert ended_B.any()
    np.testing.assert_array_equal(long_BT[ended_B], np.pad(short_BT[ended_B], [(0, 0), (0, 6)], constant_values=PAD))


class Counting(Transformer):
    """Counts how often the decoder runs."""

    calls: ClassVar[list[int]] = []

    def decode(self, *args: Any):
        jax.debug.callback(lambda: self.calls.append(1))
        return super().decode(*args)


@pytest.mark.parametrize("beams", [None, 3])
@pytest.mark.parametrize("end, calls", [(9.0, 1), (-9.0, LENGTH)], ids=["at once", "never"])
def test_the_loop_runs_no_longer_than_it_must(beams, end, calls):
    model = Counting(transformer(V).config, V)
    params = weights(model, 0)
    # The last vector is all ones, whatever was read, so that the output's rows alone decide.
    output_VD = jnp.linspace(0.0, 0.1, V)[:, None] * jnp.ones(6)
    alike = {"decoder_norm": {"scale": jnp.zeros(6), "bias": jnp.ones(6)}, "output": output_VD.at[EOS].set(end)}
    Counting.calls.clear()
    tokens_BT, _ = decode(Case(model, {"params": params["params"] | alike}, sources(V)), beams)
    jax.effects_barrier()
    assert len(Counting.calls) == calls
    assert (np.sum(tokens_BT != PAD, axis=1) == calls).all()


def test_a_search_needs_room_and_a_beam():
    c = case("rnn", 0)
    with pytest.raises(ValueError, match="length must be at least 1, the end mark, got 0"):
        decode(c, None, length=0)
    with pytest.raises(ValueError, match="beams must be at least 1, got 0"):
        decode(c, 0)
