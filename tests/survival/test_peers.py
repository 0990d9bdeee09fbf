"""Two processes that train one model: as one would; and where one of them is gone, the other does not wait for it."""

import signal
import socket
import time

import pytest

from tests.cli.toy import process, read_metrics
from tests.survival.lm import arguments, config, started, wait_for, write_corpus

pytestmark = pytest.mark.slow

STEPS = 60
LIMIT = 30.0
"""Seconds that a process may wait for one that is gone, as its users are promised."""

WAYS = [
    pytest.param(victim, number, id=f"{number.name}-{victim}")
    for number in (signal.SIGSTOP, signal.SIGKILL)
    for victim in (0, 1)
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("text") / "corpus")


def pair(data, out, *more):
    """Both processes of a run, the coordinator first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    common = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    command = arguments(config(data), out, *more)
    return [started(command, **common, JAX_PROCESS_ID=str(number)) for number in range(2)]


def ended(processes, timeout=300):
    """What each of them prints from now on."""
    try:
        return [each.communicate(timeout=timeout) for each in processes]
    finally:
        for each in processes:
            each.kill()


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The run by two processes that was not broken off."""
    out = tmp_path_factory.mktemp("pair") / "run"
    processes = pair(data, out, f"--until={STEPS}")
    said = ended(processes)
    assert [each.returncode for each in processes] == [0, 0], said
    assert "step 1/" in said[0][0] and "step 1/" not in said[1][0]
    return out


def rows(out):
    return read_metrics(out / "metrics.jsonl")


def test_two_processes_train_as_one(data, whole, tmp_path):
    result = process(*arguments(config(data), tmp_path / "one", f"--until={STEPS}"))
    assert result.returncode == 0, result.stderr
    one, two = rows(tmp_path / "one"), rows(whole)
    assert [row["step"] for row in two] == list(range(1, STEPS + 1))
    assert max(abs(a["loss"] - b["loss"]) for a, b in zip(one, two, strict=True)) < 1e-6


@pytest.mark.parametrize("victim, number", WAYS)
def test_where_one_is_gone_the_other_ends_in_time_and_a_relaunch_is_the_whole_run(
    victim, number, data, whole, tmp_path, thorough
):
    if not thorough and (victim, number) != (0, signal.SIGSTOP):
        pytest.skip("told to be thorough only")
    out = tmp_path / "run"
    processes = pair(data, out)
    wait_for(processes[0], "step 40/")
    since = time.monotonic()
    processes[victim].send_signal(number)
    try:
        _, said = processes[1 - victim].communicate(timeout=120)
    finally:
        for each in processes:
            each.kill()
    taken = time.monotonic() - since
    print(f"{number.name} of process {victim}: the other ended after {taken:.1f} s, {processes[1 - victim].returncode}")
    assert processes[1 - victim].returncode == 1 and taken < LIMIT
    assert said.splitlines()[-1].startswith("jaxformer: another process of this run died or hangs, so this one ends; ")

    processes = pair(data, out, f"--until={STEPS}")
    said = ended(processes)
    assert [each.returncode for each in processes] == [0, 0], said
    assert rows(out) == rows(whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_one_of_them_stops_both_at_the_same_step(number, data, whole, tmp_path):
    out = tmp_path / "run"
    processes = pair(data, out)
    wait_for(processes[0], "step 20/")
    processes[1].send_signal(number)
    said = ended(processes)
    assert [each.returncode for each in processes] == [130, 130], said
    saved = [error.strip().splitlines()[-1].partition(" in ")[0] for _, error in said]
    assert saved[0] == saved[1] == f"saved      step {len(rows(out))}"
    common = min(len(rows(out)), STEPS)
    assert rows(out)[:common] == rows(whole)[:common]
