"""A second signal ends a process that cannot be interrupted; a first one does not."""

import signal
import subprocess
import sys

import pytest

STUCK = """
import jax
from jaxformer.training.stopping import StopRequest

endless = jax.jit(lambda x: jax.lax.fori_loop(0, 2**30, lambda i, x: jax.numpy.sin(x @ x), x))
with StopRequest() as stop, stop.between_steps():
    result = endless(jax.numpy.eye(64))[0, 0]
    print("ready", flush=True)
    float(result)
"""

LOST = """
import contextlib, gc, os, signal
from jaxformer.training.stopping import StopRequest

def told(phase, info):
    gc.callbacks.remove(told)
    os.kill(os.getpid(), signal.SIGTERM)

with StopRequest() as stop:
    gc.callbacks.append(told)
    with contextlib.suppress(KeyboardInterrupt):
        gc.collect()
    with stop.between_steps():
        print("noticed" if stop.reached(1) else "lost")
"""


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_a_process_that_is_in_the_middle_of_a_computation(second):
    with subprocess.Popen([sys.executable, "-c", STUCK], stdout=-1, stderr=-1, text=True) as stuck:
        try:
            assert stuck.stdout is not None and stuck.stdout.readline() == "ready\n"
            stuck.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):
                stuck.wait(3)
            stuck.send_signal(second)
            _, said = stuck.communicate(timeout=30)
        finally:
            stuck.kill()
    assert stuck.returncode == 130
    assert said == "\nstopped    at once; the last checkpoint is whole\n"


def test_an_interruption_that_is_lost_before_the_first_step_is_noticed_after_it():
    """What is raised in a callback of the garbage collector, as jax has one, goes nowhere. In a process of its own,
    because the collector of one that has run tests may take longer than a process has to leave.
    """
    found = subprocess.run([sys.executable, "-c", LOST], capture_output=True, text=True, timeout=120)
    assert (found.returncode, found.stdout) == (0, "noticed\n"), found.stderr
