"""Held-out text is translated in its order, whatever order it is batched in, and the sums are those of the whole."""

import chex
import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxformer.config.data import Bpe
from jaxformer.config.translate import SearchConfig
from jaxformer.data.batches import pair_batches
from jaxformer.objectives import Total
from jaxformer.ops.losses import TokenLoss
from jaxformer.text.bpe import train_bpe
from jaxformer.training.evaluation import Translator, evaluate_loss

pytestmark = pytest.mark.smoke

BPE = train_bpe(["one two three", "one two", "two three"], Bpe(vocabulary=280))
MARKS = {"pad": BPE.pad, "bos": BPE.bos, "eos": BPE.eos, "vocabulary": BPE.size}


class Echo(Translator):
    """Translates every sentence to itself, and remembers the shapes it was given."""

    def __init__(self):
        super().__init__(nn.Module(), BPE, SearchConfig())
        self.shapes = []

    def _decode(self, params, source_BS):
        self.shapes.append(source_BS.shape)
        return jnp.asarray(source_BS)


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=90), max_size=40))
@settings(deadline=None, max_examples=40)
def test_translations_come_in_the_order_of_the_texts(texts):
    echo = Echo()
    assert echo({}, texts) == [text if text.strip() else "" for text in texts]
    assert all(rows * length <= max(2048, length) for rows, length in echo.shapes)
    assert {length for _, length in echo.shapes} <= {16 * 2**n for n in range(9)}


def test_a_text_of_any_length_is_translated():
    texts = ["two " * count for count in (1, 300, 3)]
    assert Echo()({}, texts) == texts


def test_nothing_is_translated_to_nothing():
    assert Echo()({}, []) == []


class Speller(Translator):
    """Spells "two" letter by letter, which its tokenizer would not, then ends and goes on nevertheless."""

    def _decode(self, params, source_BS):
        letters = [BPE.encode(letter)[0] for letter in "two"]
        return jnp.tile(jnp.array([*letters, BPE.eos, BPE.pad, letters[0]]), (source_BS.shape[0], 1))


def test_tokens_are_those_that_were_generated_up_to_the_end_mark():
    speller, letters = Speller(nn.Module(), BPE, SearchConfig()), [BPE.encode(letter)[0] for letter in "two"]
    assert len(BPE.encode("two")) < 3
    assert speller.tokens({}, ["one", " ", "three"]) == [letters, [], letters]
    assert speller({}, ["one", " ", "three"]) == ["two", "", "two"]


def test_a_loss_over_batches_is_the_loss_over_all():
    pairs = [(BPE.encode("one " * n), BPE.encode("two three " * (n % 3))) for n in range(17)]

    def objective(params, batch, key):
        assert key is None
        counted_BT = batch.target_BT[:, 1:] != BPE.pad
        sums = [np.float32(np.sum(batch.target_BT[:, 1:] ** power * counted_BT)) for power in (1, 2, 0)]
        return Total(TokenLoss(*sums), np.float32(counted_BT.sum()))

    bounds = (3, 11, 40)
    total = evaluate_loss(objective, {}, [batch for _, batch in pair_batches(pairs, bounds, 64, **MARKS)])
    targets = np.concatenate([[*target, BPE.eos] for _, target in pairs]).astype(np.float64)
    expected = Total(TokenLoss(targets.sum(), (targets**2).sum(), float(len(targets))), float(len(targets)))
    chex.assert_trees_all_close(total, expected, rtol=1e-12)
    assert np.asarray(total.tokens).dtype == np.float64
