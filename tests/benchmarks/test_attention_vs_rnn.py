"""The benchmark measures what it says: equal parameters, causal attention, formulations that agree, every shape."""

import json
from dataclasses import replace

import jax
import pytest

from benchmarks import attention_vs_rnn as benchmark
from benchmarks.attention_vs_rnn import LAYERS, Config
from benchmarks.measure import Disagreement
from jaxformer.analysis.layers import CELLS, recurrent_weights
from jaxformer.ops.attention import attention
from jaxformer.ops.recurrence import GRU

SMALL = Config(lengths=(3, 5), batches=(2,), width=16, heads=2, unroll=2, seconds=0.01)


def test_an_attention_layer_that_is_not_causal_is_found_out(monkeypatch):
    monkeypatch.setattr(benchmark, "ours", attention)
    with pytest.raises(Disagreement, match=r"'attention' and 'jax\.nn\.dot_product_attention'"):
        benchmark.verify_attention(SMALL)


def test_a_formulation_that_computes_something_else_is_found_out(monkeypatch):
    right = benchmark.recurrent_layer

    def wrong(cell, formulation, unroll, weights, x_TBD):
        return right(cell, formulation, unroll, weights, x_TBD) * (1.1 if formulation is benchmark.PROJECTED else 1.0)

    monkeypatch.setattr(benchmark, "recurrent_layer", wrong)
    x_TBD = jax.random.normal(jax.random.key(0), (3, 2, SMALL.width))
    with pytest.raises(Disagreement, match="'projected, unroll 1' and 'cell in scan, unroll 1'"):
        benchmark.fastest(
            GRU, "forward", recurrent_weights(GRU, SMALL.width, SMALL.seed), x_TBD, seconds=0.01, unroll=2
        )


def test_it_reports_every_shape_and_names_the_formulations(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(benchmark, "CELLS", (GRU,))
    monkeypatch.setattr(benchmark, "LAYERS", ("attention", "GRU"))
    config = replace(SMALL, lengths=(3,), out=tmp_path)
    returned = benchmark.main(config)
    written = json.loads((tmp_path / "attention_vs_rnn-cpu.json").read_text(encoding="utf-8"))
    assert written["rows"] == json.loads(json.dumps(returned["rows"]))
    assert [(row["mode"], row["layer"]) for row in written["rows"]] == [
        (mode, layer) for mode in ("training", "forward") for layer in ("attention", "GRU")
    ]
    for row in written["rows"]:
        low, high = row["tokens_per_second"]["quartiles"]
        assert 0 < low <= row["tokens_per_second"]["median"] <= high
        assert row["tokens_per_second"]["median"] == pytest.approx(2 * 3 / row["seconds"]["median"])
    tried = [len(row["tried_median_seconds"]) for row in written["rows"] if row["layer"] == "GRU"]
    assert tried == [4 + 1, 2 + 1]
    assert (tmp_path / "attention_vs_rnn-cpu.png").read_bytes().startswith(b"\x89PNG")
    assert "attention / best RNN" in capsys.readouterr().out


def test_quick_keeps_its_figures_out_of_the_results():
    quick = benchmark.quickened(replace(Config(), quick=True))
    assert quick.out != Config().out and max(quick.lengths) < min(Config().lengths)


def test_layers_are_named_once():
    assert len(set(LAYERS)) == 1 + len(CELLS)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"heads": 3}, "width must be a multiple of heads, got width=256, heads=3"),
        ({"lengths": ()}, r"lengths must be positive, got \(\)"),
        ({"batches": (4, 0)}, r"batches must be positive, got \(4, 0\)"),
    ],
)
def test_impossible_shapes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Config(**change)
