"""Where the programs of benchmarks run that stand for a training."""

import pytest

from benchmarks import recurrence, train_step


@pytest.mark.parametrize("benchmark", [train_step, recurrence], ids=lambda module: module.__name__)
def test_what_a_training_does_is_measured_in_the_thread_that_calls(benchmark, monkeypatch):
    def before_all_else():
        raise ZeroDivisionError("asked for")

    monkeypatch.setattr(benchmark, "compute_here", before_all_else)
    with pytest.raises(ZeroDivisionError, match="asked for"):
        benchmark.main(benchmark.Config(quick=True))
