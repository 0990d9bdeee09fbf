"""The command line and the leaves answer without JAX: import-linter sees our imports, this also the libraries'."""

import pkgutil
import subprocess
import sys

import pytest

import jaxformer


def modules_of(package: str) -> list[str]:
    paths = [f"{folder}/{package}" for folder in jaxformer.__path__]
    return [f"jaxformer.{package}", *(m.name for m in pkgutil.walk_packages(paths, f"jaxformer.{package}."))]


@pytest.mark.smoke
@pytest.mark.parametrize(
    "modules",
    [["jaxformer"], modules_of("config"), modules_of("text"), modules_of("data"), ["jaxformer.cli"]],
    ids=["jaxformer", "config", "text", "data", "cli"],
)
def test_nothing_here_imports_jax(modules):
    code = f"import sys, {', '.join(modules)}; print(*sorted({{'flax', 'jax', 'optax', 'torch'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []
