"""What a program runs on: devices, processor, versions, and the most that a device can compute."""

import os
import platform
import subprocess
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxformer.config.model import Dtype


class Peak(NamedTuple):
    """Dense matrix products at the most, in 1e12 operations a second, by the type of the activations."""

    bfloat16: float
    float32: float


# By JAX's device kind. Vendors' figures for dense products, without the twofold of structured sparsity, summed in
# float32. The float32 column is the rate at which JAX multiplies float32 at its default precision: TF32 on NVIDIA's
# tensor cores, bfloat16 on a TPU. Sources: NVIDIA's data sheets of A100, H100 (SXM, PCIe, NVL), H200 (SXM, NVL), HGX
# B200, GB200, L4, L40S and A10, and its Ada (4090), GA102 (3090) and Blackwell (5090) white papers; Google Cloud's TPU
# pages, for v2, v3 and TPU7x by core, which is what JAX calls a device there.
PEAKS: dict[str, Peak] = {
    "NVIDIA A100-SXM4-40GB": Peak(312.0, 156.0),
    "NVIDIA A100-SXM4-80GB": Peak(312.0, 156.0),
    "NVIDIA A100-PCIE-40GB": Peak(312.0, 156.0),
    "NVIDIA A100 80GB PCIe": Peak(312.0, 156.0),
    "NVIDIA A10": Peak(125.0, 62.5),
    "NVIDIA H100 80GB HBM3": Peak(989.4, 494.7),
    "NVIDIA H100 PCIe": Peak(756.0, 378.0),
    "NVIDIA H100 NVL": Peak(835.5, 417.5),
    "NVIDIA H200": Peak(989.4, 494.7),
    "NVIDIA H200 NVL": Peak(835.5, 417.5),
    "NVIDIA B200": Peak(2250.0, 1100.0),
    "NVIDIA GB200": Peak(2500.0, 1250.0),
    "NVIDIA L4": Peak(121.0, 60.0),
    "NVIDIA L40S": Peak(362.0, 183.0),
    "NVIDIA GeForce RTX 3090": Peak(71.0, 35.6),
    "NVIDIA GeForce RTX 4090": Peak(165.2, 82.6),
    "NVIDIA GeForce RTX 5090": Peak(209.5, 104.8),
    "TPU v2": Peak(22.5, 22.5),
    "TPU v3": Peak(61.5, 61.5),
    "TPU v4": Peak(275.0, 275.0),
    "TPU v5 lite": Peak(197.0, 197.0),
    "TPU v5e": Peak(197.0, 197.0),
    "TPU v5": Peak(459.0, 459.0),
    "TPU v5p": Peak(459.0, 459.0),
    "TPU v6 lite": Peak(918.0, 918.0),
    "TPU v6e": Peak(918.0, 918.0),
}

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "jaxformer")


def peak_flops(kind: str, dtype: Dtype) -> float | None:
    """Operations a second of one device of this kind at the most; None where the kind is unknown, as every CPU's is."""
    peak = PEAKS.get(kind)
    return None if peak is None else getattr(peak, dtype) * 1e12


def total_peak_flops(dtype: Dtype) -> float | None:
    """Of all devices that JAX has together; None unless all are known."""
    peaks = [peak_flops(device.device_kind, dtype) for device in jax.devices()]
    return None if None in peaks else sum(peak for peak in peaks if peak is not None)


def describe() -> dict[str, Any]:
    """Devices, processor and versions as plain data: what a measurement must be read with."""
    return {
        "devices": [{"platform": d.platform, "kind": d.device_kind} for d in jax.devices()],
        "processes": jax.process_count(),
        "processor": _processor(),
        "cores": _cores(),
        "memory_bytes": _memory(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: version for name in LIBRARIES if (version := _version(name))},
    }


def summary(description: dict[str, Any]) -> str:
    """One line of `describe()`: the devices, with the processor where they are its own cores."""
    kinds = Counter((device["platform"], device["kind"]) for device in description["devices"])
    names = [f"{count} x {kind}" for (_, kind), count in kinds.items()]
    if any(platform == "cpu" for platform, _ in kinds):
        names.append(f"{description['cores']} cores of {description['processor']}")
    return ", ".join(names)


def revision(folder: Path) -> str | None:
    """The commit of a folder's checkout, with `+` where files have changed since; None outside of a checkout."""
    git = ["git", "-C", str(folder)]
    try:
        commit, changed = (
            subprocess.run([*git, *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain"))
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changed else "")


def _processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _cores() -> int:
    """Cores that this process may use, which a container may have fewer of than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
