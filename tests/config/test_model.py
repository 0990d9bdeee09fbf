"""Models that make no sense cannot be written down."""

from dataclasses import replace

import pytest

from jaxformer.config.blocks import Latent, MultiHead
from jaxformer.config.encoder_decoders import MARIAN_TINY
from jaxformer.config.encoders import BERT_TINY
from jaxformer.config.experts import MixtureOfExperts

pytestmark = pytest.mark.smoke


@pytest.mark.parametrize("changes", [{"scale": 0.0}, {"scale": -1.0}, {"softcap": 0.0}], ids=str)
def test_scores_are_multiplied_by_something_positive(changes):
    with pytest.raises(ValueError, match=f"^{next(iter(changes))} must be positive, got "):
        MultiHead(4, 2, 3, **changes)
    if "scale" in changes:
        with pytest.raises(ValueError, match=r"^scale must be positive, got "):
            Latent(4, 2, 3, 5, 7, **changes)


def test_the_decoder_alone_looks_across():
    for side, other in (("encoder", MARIAN_TINY.decoder), ("decoder", MARIAN_TINY.encoder), ("decoder", ())):
        with pytest.raises(ValueError, match=f"^{side} must have at least one block, with .*cross.*, got {side}="):
            replace(MARIAN_TINY, **{side: other})


@pytest.mark.parametrize(
    "config, stack",
    [(MARIAN_TINY, "encoder"), (MARIAN_TINY, "decoder"), (BERT_TINY, "groups")],
    ids=("encoder", "decoder", "bert"),
)
def test_experts_are_left_to_models_whose_training_balances_them(config, stack):
    (group,) = getattr(config, stack)
    block = replace(group.blocks[0], feed_forward=MixtureOfExperts(4, 2, 8))
    with pytest.raises(ValueError, match=r"must have no MixtureOfExperts, for no job that trains it balances them$"):
        replace(config, **{stack: (replace(group, blocks=(block,)),)})
