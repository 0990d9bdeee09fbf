"""What a run writes down can be read back exactly, and what it shows is plain where there is no terminal."""

import io
import json
import math
import struct
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboardX.proto.event_pb2 import Event

from jaxformer.training import journal
from jaxformer.training.journal import BarDisplay, Journal, LineDisplay, Speed, clock, display
from jaxformer.training.run import RunFolder
from tests.survival.disk import files_of_at_most

pytestmark = pytest.mark.smoke


def events(folder):
    """The records of all TensorBoard files of a folder, oldest first; see the TFRecord format of TensorFlow."""
    for path in sorted(folder.iterdir()):
        file = io.BytesIO(path.read_bytes())
        while header := file.read(12):
            record = file.read(struct.unpack("<Q", header[:8])[0])
            file.read(4)
            yield Event.FromString(record)


def scalars(folder):
    return [(e.step, v.tag, v.simple_value) for e in events(folder) for v in e.summary.value]


def records(run):
    return [json.loads(line) for line in run.metrics_path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path)


def test_records_read_back_in_full_precision(run):
    rows = [{"step": step, "loss": float(np.float32(1 / step)), "b": math.pi / step} for step in (1, 3, 7)]
    written = Journal(run)
    for row in rows:
        written.write(row["step"], {"loss": row["loss"], "b": row["b"]})
    # Before it is closed: a run that is killed leaves all lines of the steps it took.
    assert records(run) == rows
    written.close()
    assert records(run) == rows
    expected = [(row["step"], key, float(np.float32(row[key]))) for row in rows for key in ("loss", "b")]
    assert scalars(run.tensorboard_path) == expected


def test_a_resumed_journal_goes_on_and_says_from_where(run):
    for first, last in ((1, 3), (3, 5)):
        written = Journal(run, step=first - 1)
        for step in range(first, last):
            written.write(step, {"loss": 1.0})
        written.close()
        time.sleep(1)  # a TensorBoard file is named after its second
    assert [row["step"] for row in records(run)] == [1, 2, 3, 4]
    # A session's start tells TensorBoard to forget what an earlier one had of this step and later ones.
    starts = [e.step for e in events(run.tensorboard_path) if e.HasField("session_log")]
    assert starts == [1, 3]


# tensorboardX leaves a file open that it could not write.
left_open = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@left_open
def test_what_a_full_disk_does_not_take_is_written_when_it_does(run, capsys):
    written = Journal(run)
    written.write(1, {"loss": 1.0})
    with files_of_at_most(run.metrics_path.stat().st_size + 5):
        # More than any buffer on the way, and than a queue that nobody empties.
        for step in range(2, 2003):
            written.write(step, {"loss": 1.0 / step})
    written.write(2003, {"loss": 0.0})
    assert [row["step"] for row in records(run)] == list(range(1, 2004))
    written.close()
    first, second = sorted(capsys.readouterr().err.splitlines())
    assert (
        first
        == f"warning    {run.metrics_path} cannot be written: File too large; its records are kept until it can be"
    )
    assert second.startswith(f"warning    {run.tensorboard_path} cannot be written: File too large; ")


@left_open
def test_records_that_are_lost_in_the_end_are_counted(run, capsys):
    written = Journal(run)
    with files_of_at_most(5):
        for step in (1, 2, 3):
            written.write(step, {"loss": 1.0})
        written.close()
    assert f"{run.metrics_path} lacks its last 3 records: File too large" in capsys.readouterr().err


def test_lines_are_plain_and_as_many_as_asked_for(capsys):
    with LineDisplay(start=3, steps=14, every=5) as shown:
        for step in range(4, 15):
            shown.step(step, f"[loss] {step}")
        shown.line("a word [b]")
    assert capsys.readouterr().out == (
        "step 4/14  [loss] 4\nstep 5/14  [loss] 5\nstep 10/14  [loss] 10\nstep 14/14  [loss] 14\na word [b]\n"
    )


def test_a_terminal_has_a_bar_and_everything_else_lines(monkeypatch, capsys):
    assert isinstance(display(0, 7, 1), LineDisplay)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    shown = display(0, 7, 1)
    assert isinstance(shown, BarDisplay)
    with shown:
        shown.step(5, "loss 1.5")
        shown.line("a [word]")
    out = capsys.readouterr().out
    assert "a [word]" in out and "loss 1.5" in out and "5/7" in out


def test_speed_is_that_of_the_steps_alone(monkeypatch):
    now = iter([100.0, 101.0, 103.0, 153.0, 154.0])
    monkeypatch.setattr(journal.time, "perf_counter", lambda: next(now))
    speed = Speed(left=13, flops_per_token=5e6, peak_flops=2e10)
    speed.step(1000)
    speed.step(4000)
    speed.skip()  # fifty seconds of something else
    speed.step(3000)
    # 8000 tokens in 4 s; three of thirteen steps took 4 s, so ten more take 13.3 s.
    assert str(speed) == "2,000 tokens/s  MFU 50.0%  0:13 left"
    assert "MFU" not in str(unknown(speed))


def unknown(speed):
    speed._peak = None
    return speed


@given(st.integers(0, 10**6))
def test_a_clock_says_its_seconds(seconds):
    parts = clock(seconds).split(":")
    assert sum(int(part) * 60**i for i, part in enumerate(reversed(parts))) == seconds
    assert all(len(part) == 2 for part in parts[1:]) and len(parts) == (3 if seconds >= 3600 else 2)


def test_a_clock_rounds():
    assert (clock(59.6), clock(3599.4), clock(3599.5)) == ("1:00", "59:59", "1:00:00")
