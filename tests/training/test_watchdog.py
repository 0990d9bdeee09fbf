"""A step that hangs is told of once, with the stacks of all threads."""

import time

from jaxformer.config.training import Stall
from jaxformer.training.watchdog import Watchdog


def hang_until(there, capsys):
    """Until the file is there and a line was said of it; for a minute at most."""
    said = ""
    for _ in range(600):
        said += capsys.readouterr().err
        if there.exists() and said:
            break
        time.sleep(0.1)
    return said


def test_a_step_that_takes_far_longer_than_the_others_is_told_once_with_stacks(tmp_path, capsys):
    path = tmp_path / "stalls.txt"
    with Watchdog(Stall(factor=5.0, seconds=0.3), path) as watchdog:
        for step in range(1, 4):
            watchdog.begin(step)
            watchdog.end()
        watchdog.begin(4)
        said = hang_until(path, capsys)
        # Long enough to be told again.
        time.sleep(0.5)
    said += capsys.readouterr().err
    assert said.startswith("warning    step 4 has taken ") and said.count("\n") == 1 and str(path) in said
    told = path.read_text()
    assert told.startswith("step 4 has taken ") and told.count("step 4") == 1
    assert "hang_until" in told and "_tell" in told


def test_what_is_between_steps_or_usual_or_short_is_not_told(tmp_path, capsys):
    """Nor is a first step, which has nothing to be compared with."""
    path, usual = tmp_path / "stalls.txt", 0.01

    def waits(stall, *steps):
        with Watchdog(stall, path) as watchdog:
            for step, taken in enumerate(steps, 1):
                watchdog.begin(step)
                time.sleep(taken)
                watchdog.end()
            time.sleep(0.3)

    waits(Stall(factor=1.0, seconds=0.1), 0.3)
    waits(Stall(factor=1e9, seconds=0.1), usual, 0.3)
    waits(Stall(factor=1.0, seconds=1e9), usual, 0.3)
    waits(Stall(factor=0, seconds=0.1), usual, 0.3)
    assert capsys.readouterr().err == "" and not path.exists()
