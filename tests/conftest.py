"""What every test shares: eight simulated CPU devices, where real data lies, and torch as an independent reference.

This file is imported before any test, hence before jax, whose devices are fixed by the environment at its first use.
"""

import os
import tempfile
from pathlib import Path

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()

# The suite spends most of its time compiling, often the same program again: in another worker, or in a process that a
# test starts. A size limit makes the cache lock its folder, so that no process reads what another is still writing.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(2 << 30))

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """Opens a compilation cache for this run; the workers inherit it with the environment."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="jaxformer-compiled-")
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name
        config.add_cleanup(folder.cleanup)


def missing(what: str) -> None:
    """Skips the test on a person's machine and fails it in CI, where nothing may be left out silently."""
    if os.environ.get("CI"):
        pytest.fail(f"CI needs {what}")
    pytest.skip(f"needs {what}")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Where the real corpora lie: JAXFORMER_DATA in the environment, else ../shared/data beside the repository."""
    folder = Path(os.environ.get("JAXFORMER_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        missing(f"real data in {folder}; name another folder by JAXFORMER_DATA")
    return folder


@pytest.fixture(scope="session")
def torch():
    """The module torch, on one thread: the reference that this library shares no code with."""
    try:
        import torch
    except ImportError:
        missing("torch: pip install -e '.[parity]'")
    torch.set_num_threads(1)
    return torch
