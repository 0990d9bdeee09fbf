"""The benchmark of the input pipeline: batches differ from call to call, and its figure is their number a step."""

import pytest

from benchmarks.comparison import compare
from benchmarks.input_pipeline import BATCH, STEP, contestants, judge
from benchmarks.measure import Contestant, Effort


class CountingJob:
    def __init__(self):
        self.batches, self.place = range(10), lambda batch: batch

    def compile(self):
        pass

    def new_state(self):
        return 0

    def step(self, state, batch):
        return state + 1, {"loss": state, "batch": batch}


def test_each_call_makes_the_next_batch_and_takes_the_next_step():
    batch, step = contestants(CountingJob())
    assert [batch.run() for _ in range(3)] == [1, 2, 3]
    assert [step.run() for _ in range(2)] == [{"loss": 0, "batch": 0}, {"loss": 1, "batch": 0}]


def test_the_figure_is_how_many_batches_are_made_in_a_step():
    slow = [Contestant(name, lambda n=n: sum(range(n))) for name, n in ((BATCH, 1_000), (STEP, 100_000))]
    rows = compare({"job": "toy"}, slow, Effort(0.0, 2, 2, 0.0), lambda results: None)
    (verdict,) = judge(rows)
    assert verdict.value == pytest.approx(rows[1]["times_first"]["median"]) and verdict.value > 4 and verdict.met
