"""Told to stop at any moment, a run saves, leaves in time, and goes on as if it had never been told."""

import random
import signal
import time

import pytest

from jaxformer.training.checkpoint import Checkpoints
from tests.cli.toy import process, read_metrics
from tests.survival.lm import arguments, config, started, wait_for, write_corpus

MOMENTS, THOROUGH = 3, 30


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("text") / "corpus")


def last_saved(out):
    with Checkpoints(out / "checkpoints") as checkpoints:
        return checkpoints.steps[-1]


def losses(out):
    return [(row["step"], row["loss"].hex()) for row in read_metrics(out / "metrics.jsonl")]


def test_sigterm_at_random_moments_saves_and_the_run_goes_on_to_the_last_bit(data, tmp_path, thorough):
    moments, rng = THOROUGH if thorough else MOMENTS, random.Random(0)
    out, command, waited = tmp_path / "run", arguments(config(data), tmp_path / "run"), []
    for moment in range(moments):
        running = started(command)
        # A progress line, or that the program is compiled.
        wait_for(running, "attention" if moment % 3 == 2 else "/100000")
        time.sleep(rng.uniform(0, 2))
        since = time.monotonic()
        running.send_signal(signal.SIGTERM)
        try:
            _, said = running.communicate(timeout=60)
        finally:
            running.kill()
        waited.append(time.monotonic() - since)
        assert running.returncode == 130, said
        assert said.strip().splitlines()[-1].startswith(("saved      step ", "stopped    "))
    print(f"gone after {max(waited):.2f} s at most, {sum(waited) / len(waited):.2f} s on average, of {moments}")
    step = last_saved(out)
    assert step > 0 and len(losses(out)) == step

    whole = tmp_path / "whole"
    result = process(*arguments(config(data), whole, f"--until={step}"))
    assert result.returncode == 0, result.stderr
    assert losses(whole) == losses(out)
