"""Processes of one run go on from the same step, or end."""

import jax.numpy as jnp
import pytest
from jax.experimental import multihost_utils

from jaxformer.config.errors import UserError
from jaxformer.training import peers


def test_processes_that_found_other_checkpoints_end(monkeypatch):
    peers.same(3, "alone")
    monkeypatch.setattr(peers, "together", lambda: True)
    monkeypatch.setattr(multihost_utils, "process_allgather", lambda number: jnp.stack([jnp.asarray(number), 8]))
    peers.same(8, "the newest")
    with pytest.raises(UserError, match=r"^the newest is not the same for all processes, got \[4, 8\]; give all"):
        peers.same(4, "the newest")
