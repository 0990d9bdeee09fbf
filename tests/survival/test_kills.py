"""A process that saves without a pause may be killed at any moment: the next one finds a whole checkpoint."""

import multiprocessing
import os
import random
import signal
import time

import pytest

from tests.conftest import ROOT
from tests.survival.saving import save_forever

TURN = 1.5
"""Seconds that a process saves at most."""


@pytest.fixture(scope="module")
def server():
    """Makes processes that have jax imported but not begun to use it: a second less for each, and safe to fork."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), before]))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.survival.saving"])
    return context


def told(connection):
    """All that a process said before it was killed."""
    with connection:
        try:
            while True:
                yield connection.recv()
        except EOFError:
            return


def test_a_kill_loses_one_interval_at_most(server, tmp_path, thorough):
    rng, begun, lost = random.Random(0), 0, []
    for kill in range(100 if thorough else 5):
        hear, say = server.Pipe(duplex=False)
        process = server.Process(target=save_forever, args=(tmp_path / "c", 1 + kill % 2, say))
        process.start()
        say.close()
        assert hear.poll(60), "the process does not start"
        resumed = hear.recv()
        # From its first save on, or until it dies of itself.
        hear.poll(60)
        time.sleep(rng.uniform(0, TURN))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "it ended of itself"
        assert resumed is not None, "what was restored is not what was saved"
        assert resumed >= begun - 1
        lost.append(begun - resumed)
        begun = max([resumed, *told(hear)])
    assert begun > len(lost) / 4, "hardly any save came to its end"
    print(f"{len(lost)} kills in {begun} saves; nothing lost by {lost.count(0)}, one save by {lost.count(1)}")
