"""The report counts the programs that it names, finds out another one, and says where curves cross."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import topologies

from benchmarks import parallelism as benchmark
from benchmarks.measure import Disagreement
from benchmarks.parallelism import Config, counts, crossed, crossings, tables, verify
from jaxformer.analysis.layers import layers
from jaxformer.config.errors import UserError

SMALL = Config(lengths=(8, 16), measured=8, width=16, heads=2, seconds=0.01)
NAMES = ["attention", "tanh-RNN", "GRU", "LSTM", "minGRU, scan", "minGRU, associative"]


def named(name):
    return next(layer for layer in layers(SMALL.width, SMALL.heads) if layer.name == name)


def shape(length):
    return jax.ShapeDtypeStruct((length, SMALL.width), jnp.float32)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What a run returns, and its folder."""
    out = tmp_path_factory.mktemp("results")
    return benchmark.main(replace(SMALL, out=out)), out


@pytest.mark.parametrize("name", NAMES)
def test_products_are_those_of_the_closed_form_at_any_length(name):
    layer = named(name)
    found = counts(layer, layer.counted, shape(7))
    assert found["written"]["products"] == found["compiled"]["products"] == layer.products(7)


def test_a_layer_that_computes_something_else_is_found_out():
    layer = named("GRU")
    with pytest.raises(Disagreement, match="products of GRU must take 31,504 FLOPs, got 21,504"):
        wrong = replace(layer, products=lambda length: layer.products(length) + 10_000)
        counts(wrong, wrong.counted, shape(7))


@pytest.mark.parametrize("name", ["minGRU, associative", "attention"])
def test_forms_that_disagree_are_found_out(name):
    def wrong(layer):
        return replace(layer, timed=lambda *args: 1.1 * layer.timed(*args)) if layer.name == name else layer

    with pytest.raises(Disagreement, match=f"'{name}' and '.*' must agree within 0.01"):
        verify([wrong(layer) for layer in layers(SMALL.width, SMALL.heads)], SMALL)


def test_depth_grows_with_the_length_or_its_logarithm(run):
    depth = {(row["layer"], row["length"]): row["compiled"]["depth"] for row in run[0]["rows"]}
    for name in NAMES[1:5]:
        assert depth[name, 16] > 1.7 * depth[name, 8]
    assert depth["attention", 16] == depth["attention", 8] + 3
    assert depth["minGRU, associative", 16] == depth["minGRU, associative", 8] + 5


def test_only_short_programs_are_timed(run):
    for row in run[0]["rows"]:
        assert ("timed" in row) == (row["length"] == 8)
        if "timed" in row:
            assert row["timed"]["tokens_per_second"] == pytest.approx(8 / row["timed"]["seconds"]["median"])
            assert row["timed"]["compiled"]["work"] > 0


def test_it_writes_json_pictures_and_tables(run):
    returned, folder = run
    written = json.loads((folder / "parallelism-cpu.json").read_text(encoding="utf-8"))
    assert written["rows"] == json.loads(json.dumps(returned["rows"]))
    assert [(row["length"], row["layer"]) for row in written["rows"]] == [(n, name) for n in (8, 16) for name in NAMES]
    assert max(returned["distances"].values()) < 1e-5
    for name in ("parallelism-cpu.png", "parallelism-cpu-time.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    text = tables(returned)
    assert "depth, operations one after another" in text and "TPU" not in text and "Not counted" not in text


def curve(function, lengths=(16, 32, 64, 128)):
    return {length: function(length) for length in lengths}


@pytest.mark.parametrize(
    "one, other, expected",
    [
        (curve(lambda T: T**2), curve(lambda T: 48 * T), [(48, False)]),
        (curve(lambda T: 48 * T), curve(lambda T: T**2), [(48, True)]),
        (curve(lambda T: T**2), curve(lambda T: 64 * T), [(64, False)]),
        (curve(lambda T: T**2), curve(lambda T: 16 * T), []),
        (curve(lambda T: T), curve(lambda T: 200 * T), []),
        ({16: 1.0, 32: 2.0, 64: 8.0}, {16: 2.0, 32: 2.0, 64: 2.0}, [(32, False)]),
        ({16: 1.0, 32: 4.0, 64: 1.0}, {16: 2.0, 32: 2.0, 64: 2.0, 128: 9.0}, [(2**4.5, False), (2**5.5, True)]),
    ],
)
def test_crossings(one, other, expected):
    assert [(pytest.approx(length), below) for length, below in crossings(one, other)] == expected


def test_a_program_that_a_tpu_cannot_hold_is_said_and_left_out():
    class Full:
        name, counted = "attention", None

        def lowered(self, program, x_TD):
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Ran out of memory.\nDetails")

    row = {"work": 1, "depth": 1, "bytes": 1, "kernels": 1, "cycles": 20, "unread": ("topk: operations unknown",)}
    rows = [
        {"layer": "GRU", "length": 8, "compiled": row, "tpu": row},
        {"layer": "attention", "length": 8, "compiled": row, "tpu": row | {"cycles": 40}},
        {"layer": "attention", "length": 16, "compiled": row, "tpu": benchmark.for_tpu(Full(), shape(16))},  # pyright: ignore
    ]
    assert crossed(rows) == []
    text = tables({"rows": rows, "crossed": []})
    estimate = text.split("cycles a token")[1]
    assert "| 8      | 2.5 |       5.0 |" in estimate and "| 16" not in estimate
    assert "Not counted: GRU, topk: operations unknown" in text
    assert "Not counted: attention at 16 for TPU: RESOURCE_EXHAUSTED: Ran out of memory.\n" in f"{text}\n"


def test_without_libtpu_it_says_in_one_line_what_is_missing(monkeypatch):
    def refuse(*args):
        raise RuntimeError("TPU support not installed.\nMore")

    monkeypatch.setattr(topologies, "get_topology_desc", refuse)
    with pytest.raises(UserError, match=r"the package libtpu: pip install 'jax\[tpu\]'; TPU support not installed\.$"):
        benchmark.tpu()


def test_quick_keeps_its_figures_out_of_the_results():
    quick = benchmark.quickened(replace(Config(), quick=True))
    assert quick.out != Config().out and max(quick.lengths) < min(Config().lengths)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"heads": 3}, "width must be a multiple of heads, got width=256, heads=3"),
        ({"lengths": ()}, r"lengths must be positive and rise, got \(\)"),
        ({"lengths": (16, 8)}, r"lengths must be positive and rise, got \(16, 8\)"),
    ],
)
def test_impossible_shapes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Config(**change)
