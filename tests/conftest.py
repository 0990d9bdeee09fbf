"""What every test shares: eight simulated CPU devices, where real data lies, and torch and transformers as
independent references.

This file is imported before any test, hence before jax and torch, which read the environment at their first use.
"""

import importlib.metadata
import importlib.util
import os
import tempfile
from pathlib import Path

import hypothesis
import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The suite mostly compiles, so the compiler is told not to try hard: LLVM does not optimise, and is given one module
# and not 32. Flags that are set already come last, and so win.
FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
FLAGS += " --xla_cpu_parallel_codegen_split_count=1"
# Fusions by way of MLIR take three quarters of the time to compile a model. XLA knows the older way to emit them up to
# jaxlib 0.10, and ends a process that gives it a flag it does not know.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    FLAGS += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{FLAGS} {os.environ.get('XLA_FLAGS', '')}".strip()

# torch and numpy would take all cores in every worker.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The suite spends most of its time compiling, often the same program again: in another worker, or in a process that a
# test starts. A size limit makes the cache lock its folder, so that no process reads what another is still writing.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(2 << 30))

# An example that takes long on a busy machine is no failure.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=2000)

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="tests/survival with its full numbers, which take an hour")


@pytest.fixture(scope="session")
def thorough(pytestconfig: pytest.Config) -> bool:
    """Whether the full numbers are asked for."""
    return pytestconfig.getoption("thorough")


def pytest_configure(config: pytest.Config) -> None:
    """Chooses how many examples are drawn where a test does not say, and opens a compilation cache for this run, which
    the workers inherit with the environment.
    """
    hypothesis.settings.load_profile("thorough" if config.getoption("thorough") else "untimed")
    if os.environ.get("CI") and not all(map(importlib.util.find_spec, ("torch", "transformers"))):
        raise pytest.UsageError("CI may not skip the parity tests: pip install -e '.[parity]'")
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="jaxformer-compiled-")
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name
        config.add_cleanup(folder.cleanup)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Where the real corpora lie: JAXFORMER_DATA in the environment, else ../shared/data beside the repository.

    Without them the test is skipped, but fails in CI, where nothing may be left out silently.
    """
    folder = Path(os.environ.get("JAXFORMER_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            f"no real data in {folder}; name its folder by JAXFORMER_DATA"
        )
    return folder


@pytest.fixture(scope="session")
def torch():
    """The module torch, the reference that this library shares no code with; without it the test is skipped."""
    return pytest.importorskip("torch", reason="parity needs torch: pip install -e '.[parity]'")


@pytest.fixture(scope="session")
def transformers():
    """The module transformers, the reference of pretrained models; without it the test is skipped."""
    return pytest.importorskip("transformers", reason="parity needs transformers: pip install -e '.[parity]'")
