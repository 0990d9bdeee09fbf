"""Several processes that train one model: how they find each other, and how none waits for one that is gone.

Each is started with the same command line, and is told by the environment where the first one listens, how many there
are and which it is: JAX_COORDINATOR_ADDRESS=HOST:PORT, JAX_NUM_PROCESSES, JAX_PROCESS_ID. Where a cluster starts them
that jax knows (Slurm, Open MPI, Kubernetes), the address alone is enough. The run folder must be the same for all of
them; process 0 writes it, and all save checkpoints together.
"""

import ctypes
import os
import signal
import sys
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxformer.config.errors import FAILED, UserError

ADDRESS, COUNT, NUMBER = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"

ARRIVAL = 120
"""Seconds that the others have to arrive."""

SILENCE = 15
"""Seconds without a sign of life after which a process is taken for dead."""

LOST = "another process of this run died or hangs, so this one ends; mend that and start all of them again"


def join() -> None:
    """Find the others where the environment tells of any. To be called before anything asks jax for its devices.

    Of all processes only the first prints to standard output from then on. Raises UserError for an environment that
    cannot be, or where the others do not come.
    """
    if ADDRESS not in os.environ or jax.distributed.is_initialized():
        return
    try:
        jax.distributed.initialize(
            num_processes=_number(COUNT),
            process_id=_number(NUMBER),
            initialization_timeout=ARRIVAL,
            heartbeat_timeout_seconds=SILENCE,
            shutdown_timeout_seconds=SILENCE,
        )
    except (ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(
            f"the processes of this run cannot join at {ADDRESS}={os.environ[ADDRESS]}: {first}; give each of them "
            f"that address, {COUNT} and its own {NUMBER} from 0 on"
        ) from None
    _tell_when_others_are_lost()
    if not leads():
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def leave() -> bool:
    """Wait for the others to come as far as this, and part from them; False for a process that had none."""
    if not jax.distributed.is_initialized():
        return False
    others = together()
    jax.distributed.shutdown()
    return others


def leads() -> bool:
    """Whether this process writes what all of them share."""
    return jax.process_index() == 0


def together() -> bool:
    """Whether there are other processes."""
    return jax.process_count() > 1


def meet(where: str) -> None:
    """Wait until all processes have come to the place of this name."""
    if together():
        multihost_utils.sync_global_devices(where)


def same(number: int, what: str) -> None:
    """Raises UserError unless all processes come with the same number."""
    if together():
        numbers = multihost_utils.process_allgather(np.asarray(number))
        if len(set(numbers.tolist())) > 1:
            raise UserError(
                f"{what} is not the same for all processes, got {numbers.tolist()}; give all of them the same folder"
            )


def _number(variable: str) -> int | None:
    text = os.environ.get(variable)
    if text is None:
        return None
    if not text.isdecimal():
        raise UserError(f"{variable} must be a number from 0 on, got {text!r}; set it for each process")
    return int(text)


def _tell_when_others_are_lost() -> None:
    """End with a line where jax, which listens for signs of life, would abort.

    It does so in a thread of its own while the main one waits for the others in a computation, where Python handles no
    signals, hence the handler for C.
    """
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = [ctypes.c_int, _HANDLER], ctypes.c_void_p
    libc.signal(signal.SIGABRT, _END)


def _end(number: int) -> None:
    os.write(2, f"\njaxformer: {LOST}\n".encode())
    os._exit(FAILED)


_HANDLER: Any = ctypes.CFUNCTYPE(None, ctypes.c_int)
_END = _HANDLER(_end)
