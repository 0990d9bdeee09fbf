"""What the benchmark measures is what the shapes say, and it counts only caches from which generation can go on."""

import json
from dataclasses import replace

import jax
import pytest

from benchmarks import cache_memory as benchmark
from benchmarks.cache_memory import LLAMA, LONG, Config, kept, kinds, layer, published
from benchmarks.measure import Disagreement
from jaxformer.analysis.memory import size_of
from jaxformer.nn.stack import caches

SMALL = Config(contexts=(17, 31), prompt=13, window=7, width=8 * 12, heads=8, layers=3)
WINDOW = "window of 7"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What a run of the ring alone returns, and its folder: each cache takes seconds to compile."""
    out = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "kinds", lambda config: {WINDOW: kinds(config)[WINDOW]})
        return benchmark.main(replace(SMALL, out=out)), out


def test_measured_is_analytic(run):
    rows = run[0]["rows"]
    assert [(row["dtype"], row["context"]) for row in rows] == [("float32", 17), ("float32", 31), ("bfloat16", 31)]
    assert all(row["measured"] and row["bytes"] == row["analytic_bytes"] > 0 for row in rows)
    assert all(row["bytes_per_token"] * row["context"] == pytest.approx(row["bytes"]) for row in rows)


def test_a_ring_does_not_grow_with_the_context(run):
    """Layers, positions, keys and values, heads, their width, bytes."""
    short, long, half = (row["bytes"] for row in run[0]["rows"])
    assert short == long == 2 * half == 3 * 7 * 2 * 8 * 12 * 4


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", kinds(SMALL))
def test_the_formula_is_the_cache_of_every_kind(name, dtype):
    attention = kinds(SMALL)[name]
    groups = benchmark.decoder(attention, dtype, SMALL).config.groups
    for context in (5, *SMALL.contexts):
        cache = jax.eval_shape(lambda length=context: caches(groups, 1, length, dtype))
        assert kept((layer(attention),) * SMALL.layers, context, dtype) == size_of(cache)


def test_latent_attention_keeps_what_grouped_attention_with_two_and_a_quarter_heads_would():
    """DeepSeek-AI 2024 (DeepSeek-V2), §2.1.4."""
    *_, latent = (layer(attention).bytes_per_token("bfloat16") for attention in kinds(Config()).values())
    one_head = layer(kinds(Config())["multi-query"]).bytes_per_token("bfloat16")
    assert latent == 2.25 * one_head


def test_published_shapes_keep_what_is_known_of_them():
    """Bytes a token of DeepSeek-V3 and Llama 3.1 405B as DeepSeek-AI 2025 (Insights into DeepSeek-V3), table 1."""
    rows = {row["model"].partition(":")[0]: row for row in published()}
    assert rows["DeepSeek-V3"]["bytes_added_by_a_token"] == 70_272
    heads = rows["… if it kept keys and values of 128 heads"]
    assert heads["bytes_added_by_a_token"] == 61 * 128 * (128 + 64 + 128) * 2
    assert kept((layer(replace(LLAMA, heads=128)),) * 126, 1, "bfloat16") == 516_096
    assert rows["Llama 3 8B"]["bytes"] == LONG * rows["Llama 3 8B"]["bytes_added_by_a_token"] == 2**34
    gemma, everywhere = rows["Gemma 3 12B"], rows["… if all global"]
    assert 6 * gemma["bytes_added_by_a_token"] == everywhere["bytes_added_by_a_token"]
    assert gemma["bytes"] == everywhere["bytes"] / 6 + 40 * 1024 * gemma["bytes_per_token_and_layer"]
    assert not any(row["measured"] for row in rows.values())


def test_a_cache_that_forgets_is_found_out(monkeypatch):
    right = benchmark.read_on

    def forgetful(model, params, writing, *args):
        layers = jax.tree.map(lambda rows: rows.at[:, :, 0].set(0), writing.cache.layers)
        return right(model, params, writing._replace(cache=writing.cache._replace(layers=layers)), *args)

    monkeypatch.setattr(benchmark, "read_on", forgetful)
    attention = kinds(SMALL)[WINDOW]
    params = benchmark.weights(benchmark.decoder(attention, "float32", SMALL), SMALL)
    with pytest.raises(Disagreement, match="'cached step, window of 7' and 'full forward pass'"):
        benchmark.verify(WINDOW, attention, params, SMALL)


def test_it_writes_json_a_picture_and_tables(run):
    returned, folder = run
    written = json.loads((folder / "cache_memory-cpu.json").read_text(encoding="utf-8"))
    assert written["rows"] == returned["rows"] and written["published"] == published()
    assert written["distances"].keys() == {WINDOW} and written["distances"][WINDOW] < 1e-5
    assert (folder / "cache_memory-cpu.png").read_bytes().startswith(b"\x89PNG")
    tables = benchmark.tables(returned["rows"], returned["published"])
    assert "| window of 7 |" in tables and "not measured" in tables


def test_quick_keeps_its_figures_out_of_the_results():
    quick = benchmark.quickened(replace(Config(), quick=True))
    assert quick.out != Config().out and max(quick.contexts) < min(Config().contexts)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"heads": 6}, "heads must be a multiple of 4, got 6"),
        ({"width": 264}, "width must be a multiple of 4 · heads, got width=264, heads=8"),
        ({"prompt": 256}, "window < prompt < every context, got window=256, prompt=256"),
        ({"contexts": ()}, r"window < prompt < every context, .*contexts=\(\)"),
    ],
)
def test_impossible_shapes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Config(**change)
