"""Disagreement stops, and what was measured is written as it was."""

import json

import numpy as np
import pytest

from benchmarks import measure
from benchmarks.measure import Disagreement
from jaxformer.analysis.hardware import describe


def test_distance_is_that_of_the_worst_array():
    reference = {"a": np.array([3.0, 4.0]), "b": np.array([0.0, 10.0])}
    result = {"a": np.array([3.0, 4.5]), "b": np.array([2.0, 10.0])}
    assert measure.distance(result, reference) == pytest.approx(0.2)


def test_agreement_names_who_is_off():
    results = {"formula": np.ones(3), "close": np.ones(3) * 1.001, "far": np.ones(3) * 1.5}
    with pytest.raises(Disagreement, match=r"'far' and 'formula' must agree within 0\.01, got a distance of 0\.5"):
        measure.agree(results, 0.01)
    assert measure.agree(results, 0.6) == pytest.approx(0.5)


def test_a_result_that_is_not_a_number_does_not_agree():
    with pytest.raises(Disagreement):
        measure.agree({"formula": np.ones(3), "broken": np.full(3, np.nan)}, 1e9)


def test_written_floats_keep_their_last_bit(tmp_path):
    path = tmp_path / "new" / "figures.json"
    measure.write(path, {"value": 0.1 + 0.2, "name": "注意力"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"value": 0.1 + 0.2, "name": "注意力"}


def test_environment_can_be_written_and_is_the_hardware_and_the_moment(tmp_path):
    environment = measure.environment()
    measure.write(tmp_path / "environment.json", environment)
    assert environment | describe() == environment
    assert {"time", "revision", "load_average", "variables"} <= environment.keys()


def test_table_is_markdown():
    assert measure.table(["length", "speed"], [["8", "1.5 ±2%"], ["1024", "9"]]).splitlines() == [
        "| length |   speed |",
        "| ------ | ------: |",
        "| 8      | 1.5 ±2% |",
        "| 1024   |       9 |",
    ]
