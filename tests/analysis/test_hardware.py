"""What is said of the machine is true, survives JSON, and claims no peak that is not known."""

import json
import platform
from types import SimpleNamespace

import jax
import pytest

from jaxformer.analysis import hardware


def test_description_is_of_this_process_and_survives_json():
    description = hardware.describe()
    assert json.loads(json.dumps(description)) == description
    assert len(description["devices"]) == jax.device_count()
    assert description["devices"][0] == {"platform": "cpu", "kind": "cpu"}
    assert description["versions"]["jax"] == jax.__version__
    assert description["python"] == platform.python_version()
    assert description["cores"] >= 1 and description["processor"]


def test_a_summary_counts_equal_devices_once():
    gpus = [{"platform": "gpu", "kind": "NVIDIA H200"}] * 3
    cpus = [{"platform": "cpu", "kind": "cpu"}]
    rest = {"cores": 5, "processor": "Zen"}
    assert hardware.summary({"devices": gpus, **rest}) == "3 x NVIDIA H200"
    assert hardware.summary({"devices": cpus, **rest}) == "1 x cpu, 5 cores of Zen"


def test_an_unknown_device_has_no_peak():
    assert hardware.peak_flops("cpu", "float32") is None
    assert hardware.peak_flops("NVIDIA H100", "bfloat16") is None
    assert hardware.peak_flops("NVIDIA H200", "bfloat16") == 989.4e12


@pytest.mark.parametrize("kinds, expected", [
    (["NVIDIA L4", "NVIDIA L4", "NVIDIA A10"], 367e12),
    (["NVIDIA L4", "cpu"], None),
])  # fmt: skip
def test_devices_add_up_unless_one_is_unknown(monkeypatch, kinds, expected):
    monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(device_kind=kind) for kind in kinds])
    assert hardware.total_peak_flops("bfloat16") == expected


def test_no_float32_product_is_faster_than_a_bfloat16_one():
    assert all(0 < peak.float32 <= peak.bfloat16 for peak in hardware.PEAKS.values())
