"""What every benchmark needs beside its times (`jaxformer.analysis.timing`): agreement, environment, JSON, tables."""

import datetime
import importlib
import importlib.util
import json
import os
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxformer.analysis.hardware import describe, revision
from jaxformer.config.errors import UserError

RIVALS = {"torch": "PyTorch", "transformers": "transformers"}
"""What some benchmarks race against, by the module's name."""
ROOT = Path(__file__).resolve().parent.parent


class Disagreement(Exception):
    """Contestants that should compute the same do not."""


def distance(result: Any, reference: Any) -> float:
    """The largest relative L2 distance over the arrays of two trees alike in structure."""

    def relative(a: Any, b: Any) -> float:
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        return float(np.linalg.norm(a - b) / max(np.linalg.norm(b), np.finfo(np.float32).tiny))

    return max(jax.tree.leaves(jax.tree.map(relative, result, reference)))


def agree(results: Mapping[str, Any], tolerance: float) -> float:
    """The largest distance of any result to the first; raises `Disagreement` where it exceeds `tolerance`."""
    (reference_name, reference), *others = results.items()
    largest = 0.0
    for name, result in others:
        away = distance(result, reference)
        if not away <= tolerance:
            raise Disagreement(
                f"{name!r} and {reference_name!r} must agree within {tolerance:g}, got a distance of {away:.3g}"
            )
        largest = max(largest, away)
    return largest


def rival(module: str) -> Any:
    """A module of `RIVALS`, torch with a thread for each core that the process may use, as XLA has. Raises UserError
    where it is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise UserError(f"this benchmark needs {RIVALS[module]}, which is not installed; pip install {module}")
    if module == "torch":
        importlib.import_module(module).set_num_threads(describe()["cores"])
    return importlib.import_module(module)


def environment() -> dict[str, Any]:
    """Where and with what a figure was measured."""
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "revision": revision(ROOT),
        **describe(),
        "rivals": {name: metadata.version(name) for name in RIVALS if importlib.util.find_spec(name)},
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "variables": {
            name: os.environ[name]
            for name in ("XLA_FLAGS", "JAX_PLATFORMS", "OMP_NUM_THREADS", "GLIBC_TUNABLES")
            if name in os.environ
        },
    }


def device_name() -> str:
    """What the first device is called, fit for a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", jax.devices()[0].device_kind.lower()).strip("-")


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Writes JSON, floats in full precision, and makes the folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table, the first column to the left and all others to the right."""
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    aligned = [
        [cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True))]
        for row in (headers, *rows)
    ]
    rule = ["-" * width if i == 0 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (aligned[0], rule, *aligned[1:]))
