"""What a training step in 16 bits leaves in float32."""

import re
from dataclasses import replace

import jax
import pytest

from benchmarks.steps import UNROLLED, BertShape, GptShape, Learner, PairShape, encoder, encoder_decoder, gpt
from jaxformer.models.encoder import Encoder
from jaxformer.models.seq2seq import Transformer
from jaxformer.objectives import masked, translation

DTYPE = "bfloat16"


def decoder_only() -> Learner:
    return gpt(GptShape(layers=1, width=16, heads=2, length=8, vocabulary=11), 2, UNROLLED, DTYPE)


def encoder_only() -> Learner:
    wide = encoder(BertShape(layers=1, width=16, heads=2, length=8, hidden=2, rows=2, vocabulary=50))
    model = Encoder(replace(wide.model.config, dtype=DTYPE), 50)
    return replace(wide, model=model, objective=masked(model))


def both() -> Learner:
    wide = encoder_decoder(PairShape(layers=1, width=16, heads=2, length=8, rows=2, vocabulary=50))
    model = Transformer(replace(wide.model.config, dtype=DTYPE), 50)
    return replace(wide, model=model, objective=translation(model))


@pytest.mark.parametrize("learner", [decoder_only, encoder_only, both])
def test_no_gradient_is_a_sum_in_16_bits(learner):
    """Such a sum stops growing after some hundred summands."""
    of = learner()
    text = jax.jit(lambda params: of.loss_and_gradient(params)[1]).lower(of.abstract_state.params).as_text()
    sums = re.findall(r"stablehlo\.reduce\(.*applies stablehlo\.add .*", text)
    assert len(sums) > 9 and "bf16" in text
    assert not [each for each in sums if "bf16" in each]
