"""The loop on a task without arrays: what is taken, looked at, saved and written down, and when it stops."""

import math
import os
import signal
import threading
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxformer.config.training import Stall, Stop, WatchConfig
from jaxformer.training.checkpoint import Progress
from jaxformer.training.journal import Speed
from jaxformer.training.loop import Diverged, Interrupted, TooManyLeftOut, Validation, fit
from jaxformer.training.state import TrainState
from jaxformer.training.stopping import StopRequest
from jaxformer.training.watchdog import Watchdog

pytestmark = pytest.mark.smoke

START = TrainState(jnp.int32(0), params=(), optimizer=None, average=None, key=None)
FIRST = Progress("data", 0)


class Task:
    """Parameters are the batches seen so far; validations score, and losses are, as they are told to."""

    def __init__(self, scores=None, before_step=lambda step: None, losses=None, bad=()):
        self.scores, self.before_step, self.losses = scores or {}, before_step, losses or {}
        self.bad = bad
        self.batches = [f"batch {index}" for index in range(99)]

    def place(self, batch):
        return f"placed {batch}"

    def step(self, state, batch):
        self.before_step(int(state.step) + 1)
        seen = (*state.params, batch)
        loss = self.losses.get(len(seen), jnp.float32(1 / len(seen)))
        return state._replace(step=state.step + 1, params=seen), {
            "loss": loss,
            "tokens": 7.0,
            "skipped": float(len(seen) in self.bad),
        }

    def validate(self, step, params):
        assert len(params) == step
        score = self.scores.get(step, 0.0)
        return Validation({"valid_bleu": score}, score, f"BLEU {score}")


class Record:
    """Stands for checkpoints, journal and display, and remembers what they were given."""

    def __init__(self):
        self.saved, self.rows, self.lines = {}, [], []

    @property
    def steps(self):
        return sorted(self.saved)

    def save(self, state, progress):
        assert int(state.step) == progress.next_batch
        self.saved[int(state.step)] = (state, progress)

    def finish(self):
        pass

    def write(self, step, record):
        self.rows.append({"step": step, **record})

    def step(self, step, text):
        pass

    def line(self, text):
        self.lines.append(text)


def run(task, record=None, state=START, progress=FIRST, steps=23, until=None, checkpoint_every=10, **watch):
    record = record or Record()
    with StopRequest() as stop:
        fit(
            task,
            state,
            progress,
            steps=steps,
            until=steps if until is None else until,
            checkpoint_every=checkpoint_every,
            watch=WatchConfig(**{"validate_every": 7, **watch}),
            bad_numbers=Stop(after=3),
            checkpoints=record,
            journal=record,
            display=record,
            speed=Speed(steps, 1.0, None),
            watchdog=Watchdog(Stall(), Path("unused")),
            stop=stop,
        )
    return record


def test_every_batch_is_taken_in_order_and_placed():
    record = run(Task())
    state, progress = record.saved[23]
    assert state.params == tuple(f"placed batch {index}" for index in range(23))
    assert progress.next_batch == 23 and progress.batches == "data"


def test_every_step_has_one_record_with_its_validation():
    rows = run(Task(scores={14: 0.3})).rows
    assert [row["step"] for row in rows] == list(range(1, 24))
    assert all(row["loss"] == float(jnp.float32(1 / row["step"])) and row["tokens"] == 7.0 for row in rows)
    validated = {row["step"]: row["valid_bleu"] for row in rows if "valid_bleu" in row}
    assert validated == {7: 0.0, 14: 0.3, 21: 0.0, 23: 0.0}


def test_saved_are_every_tenth_the_last_and_each_better_one():
    assert sorted(run(Task(scores={7: 1.0, 14: 2.0, 21: 2.0})).saved) == [7, 10, 14, 20, 23]
    assert sorted(run(Task(), until=12).saved) == [7, 10, 12]


def test_a_pause_is_no_reason_to_validate():
    record = run(Task(), until=12)
    assert [row["step"] for row in record.rows if "valid_bleu" in row] == [7]


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0]), min_size=3, max_size=3), st.integers(1, 22))
@settings(deadline=None, max_examples=20)
def test_in_two_parts_it_is_the_same_run(scores, cut):
    task = Task(dict(zip((7, 14, 21), scores, strict=True)))
    whole, first = run(task), run(task, until=cut)
    second = run(task, None, *first.saved[cut])
    assert first.rows + second.rows == whole.rows
    assert first.saved.keys() - {cut} | second.saved.keys() == whole.saved.keys() - {cut}
    assert all(second.saved[step] == whole.saved[step] for step in second.saved)


@pytest.mark.parametrize("patience", [1, 2, 3])
@given(st.lists(st.integers(0, 5), min_size=23, max_size=23))
@settings(deadline=None, max_examples=15)
def test_it_ends_after_so_many_validations_without_a_better_score(patience, scores):
    record = run(Task(dict(enumerate(scores, 1))), validate_every=1, patience=patience, checkpoint_every=99)
    best = list(accumulate(scores, max))
    better = [step for step in range(1, 24) if step == 1 or scores[step - 1] > best[step - 2]]
    ends = next(
        (step for step in range(1, 24) if step - max(b for b in better if b <= step) == patience),
        23,
    )
    assert [row["step"] for row in record.rows] == list(range(1, ends + 1))
    assert sorted(record.saved) == sorted({*(b for b in better if b <= ends), ends})
    progress = record.saved[ends][1]
    assert progress.best_step == max(b for b in better if b <= ends) and progress.best_score == best[ends - 1]
    told = f"no better score in {patience} validations, the best was at step {progress.best_step}"
    assert record.lines.count(told) == (ends - progress.best_step == patience)


def test_a_run_that_ended_early_takes_no_more_steps():
    first = run(Task({1: 2.0}), validate_every=1, patience=2)
    assert first.saved[3][1].validations_since_best == 2
    again = run(Task(), None, *first.saved[3], validate_every=1, patience=2)
    assert again.rows == [] and again.saved == {}


def test_a_finished_run_takes_no_more_steps():
    state, progress = run(Task()).saved[23]
    again = run(Task(), None, state, progress)
    assert again.rows == [] and again.saved == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_its_step_with_everything_saved(number):
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    record, stopping = Record(), Task(before_step=lambda step: step == 5 and os.kill(os.getpid(), number))
    with pytest.raises(Interrupted, match="interrupted after step 5, which is saved") as caught:
        run(stopping, record)
    assert caught.value.step == 5 and [row["step"] for row in record.rows] == [1, 2, 3, 4, 5]
    assert {each: signal.getsignal(each) for each in before} == before
    assert record.rows + run(Task(), None, *record.saved[5]).rows == run(Task()).rows


def test_a_signal_in_the_last_step_changes_nothing():
    record = run(Task(before_step=lambda step: step == 23 and os.kill(os.getpid(), signal.SIGINT)))
    assert record.rows == run(Task()).rows


def test_a_second_signal_interrupts_at_once():
    record = Record()

    def impatient(step):
        if step == 5:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        run(Task(before_step=impatient), record)
    assert [row["step"] for row in record.rows] == [1, 2, 3, 4] and record.saved == {}


def test_another_thread_than_the_main_one_may_train():
    record = Record()
    thread = threading.Thread(target=run, args=(Task(), record))
    thread.start()
    thread.join()
    assert len(record.rows) == 23
    with StopRequest() as stop:
        assert not stop.asked


def test_a_better_score_starts_patience_again():
    progress = replace(FIRST, best_score=1.0, best_step=3, validations_since_best=1, next_batch=6)
    state = START._replace(step=jnp.int32(6), params=("",) * 6)
    record = run(Task({7: 5.0}), None, state, progress, until=7, patience=2)
    assert record.saved[7][1] == Progress("data", 7, best_score=5.0, best_step=7, validations_since_best=0)


class Number:
    """A loss on the device: says when it is waited for."""

    def __init__(self, value, events):
        self.value, self.events = value, events

    def __float__(self):
        self.events.append(f"read {self.value:.0f}")
        return self.value


def test_a_step_is_read_when_the_next_one_is_on_its_way_and_at_once_where_it_must_be():
    events, record = [], Record()
    record.write = lambda step, values: events.append(f"write {step}")
    record.save = lambda state, progress: events.append(f"save {int(state.step)}")
    losses = {step: Number(float(step), events) for step in range(1, 6)}
    task = Task({3: 1.0}, before_step=lambda step: events.append(f"take {step}"), losses=losses)
    task.validate = lambda step, params: events.append(f"validate {step}") or Validation({}, 1.0, "")
    run(task, record, steps=5, until=4, validate_every=3)
    assert events == [
        *("take 1", "take 2", "read 1", "write 1", "take 3", "read 2", "write 2"),
        *("read 3", "validate 3", "write 3", "save 3", "take 4", "read 4", "write 4", "save 4"),
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("step", [1, 5, 7, 10, 23], ids=lambda step: f"step {step}")
def test_the_first_number_that_is_not_finite_ends_the_run_before_it_is_saved(step, value):
    record = Record()
    with pytest.raises(Diverged) as caught:
        run(Task(losses={step: jnp.float32(value)}), record, checkpoint_every=3)
    saved = max(range(0, step, 3))
    kept = f"the last checkpoint is of step {max(saved, 7 if step > 7 else 0)}" if saved else "there is no checkpoint"
    assert str(caught.value).startswith(f"loss is {value} at step {step}, {kept}; start another run with ")
    assert [row["step"] for row in record.rows] == list(range(1, step)) and max(record.saved, default=0) < step


def test_a_validation_that_is_not_finite_is_no_record_either():
    record = Record()
    with pytest.raises(Diverged, match=r"^valid_bleu is nan at step 14, the last checkpoint is of step 10; "):
        run(Task({14: math.nan}), record)
    assert [row["step"] for row in record.rows] == list(range(1, 14)) and sorted(record.saved) == [7, 10]


@pytest.mark.parametrize("heard", [0, 3, 7], ids=lambda heard: f"{heard} lines heard")
def test_a_display_that_nobody_reads_any_more_ends_the_run_with_everything_saved(heard):
    class Pipe(Record):
        def step(self, step, text):
            self.line(text)

        def line(self, text):
            if len(self.lines) == heard:
                raise BrokenPipeError
            self.lines.append(text)

    record = Pipe()
    with pytest.raises(Interrupted) as caught:
        run(Task(), record)
    last = caught.value.step
    assert heard <= last <= heard + 2 and max(record.saved) == last
    assert [row["step"] for row in record.rows] == list(range(1, last + 1))
    assert record.rows + run(Task(), None, *record.saved[last]).rows == run(Task()).rows


def test_a_signal_after_the_reader_left_is_the_first_one():
    with StopRequest() as stop, stop.between_steps():
        stop.asked = True
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_what_fails_in_a_step_loses_no_record_of_the_ones_before():
    record = Record()

    def failing(step):
        if step == 5:
            raise MemoryError

    with pytest.raises(MemoryError):
        run(Task(before_step=failing), record)
    assert record.rows == run(Task()).rows[:4]


def test_what_fails_in_a_validation_leaves_no_half_record():
    record, task = Record(), Task()
    task.validate = lambda step, params: (_ for _ in ()).throw(MemoryError)
    with pytest.raises(MemoryError):
        run(task, record)
    assert record.rows == run(Task()).rows[:6]


@pytest.mark.parametrize("bad", [(5,), (6, 7), (9, 10), (23,)], ids=str)
def test_a_few_steps_that_are_left_out_are_counted_and_the_run_goes_on(bad):
    record = run(Task(bad=bad, losses={step: jnp.float32(math.nan) for step in bad}))
    assert [row["step"] for row in record.rows if row["skipped"]] == list(bad)
    assert [row["step"] for row in record.rows if "loss" not in row] == list(bad)
    assert len(record.rows) == 23 and record.saved[23][1].next_batch == 23


def test_nothing_is_saved_among_steps_that_are_left_out_but_after_them():
    """Nor is a validation there a best one: there would be no checkpoint of it."""
    record = run(Task({7: 2.0, 14: 1.0}, bad=(6, 7, 10, 11)), checkpoint_every=10)
    assert sorted(record.saved) == [12, 14, 20, 23]
    assert record.saved[12][1].best_score is None and record.saved[23][1].best_step == 14
    assert [row["valid_bleu"] for row in record.rows if "valid_bleu" in row] == [2.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("every", [2, 5, 99])
@pytest.mark.parametrize("first", [1, 3, 5, 12, 21])
def test_too_many_of_them_hand_over_the_state_and_the_batch_after_the_last_one(first, every):
    record, losses = Record(), {}
    with pytest.raises(TooManyLeftOut) as caught:
        run(Task(bad=range(first, 99), losses=losses), record, checkpoint_every=every)
    trouble = caught.value
    assert (trouble.first, trouble.last, trouble.progress.next_batch) == (first, first + 2, first + 2)
    assert first + 2 <= int(trouble.state.step) <= first + 3
    assert max(record.saved, default=0) < first
    assert [row["step"] for row in record.rows][: first + 2] == list(range(1, first + 3))


def test_a_signal_among_steps_that_are_left_out_saves():
    record, stopping = Record(), lambda step: step == 6 and os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Interrupted):
        run(Task(bad=(5, 6), before_step=stopping), record)
    assert sorted(record.saved) == [6]


def test_what_fails_while_batches_are_made_ahead_reaches_the_run_and_loses_no_record():
    class Failing(list):
        def __getitem__(self, index):
            if index == 5:
                raise OSError("the corpus is gone")
            return super().__getitem__(index)

    record, task = Record(), Task()
    task.batches = Failing(task.batches)
    with pytest.raises(OSError, match="the corpus is gone"):
        run(task, record)
    assert record.rows == run(Task()).rows[:5]
