"""Random models of the `transformers` library beside what is read of them."""

from functools import cache

import pytest

from jaxformer.weights.folder import load_folder
from tests.parity.families import FAMILIES


@pytest.fixture(scope="module")
def pair(torch, transformers, tmp_path_factory):
    """A family's name → (their model, the folder that they wrote, what we read of it), each made once."""

    @cache
    def made(name):
        torch.manual_seed(7)
        theirs = FAMILIES[name].make(transformers)
        with torch.no_grad():
            for key, parameter in theirs.named_parameters():
                if key.endswith(("bias", "sinks")) or "norm" in key.lower():
                    parameter.add_(0.1 * torch.randn(parameter.shape))
            for key, buffer in theirs.named_buffers():
                if key.endswith(("final_logits_bias", "e_score_correction_bias")):
                    buffer.add_(0.1 * torch.randn(buffer.shape))
        folder = tmp_path_factory.mktemp("family")
        theirs.save_pretrained(folder)
        return theirs, folder, load_folder(folder)

    return made
