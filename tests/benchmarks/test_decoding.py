"""Everyone writes the same tokens, what is judged stands in the rows, and a verdict can be false."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from benchmarks import decoding as benchmark
from benchmarks.decoding import (
    HAND_WRITTEN,
    MANY,
    ONE,
    ONE_BY_HAND,
    ONE_OF_READING,
    OURS,
    OURS_SCANNED,
    READS,
    TRANSFORMERS,
    Config,
    judge,
    quickened,
)
from benchmarks.measure import Disagreement
from benchmarks.steps import GptShape

pytestmark = pytest.mark.slow

torch = pytest.importorskip("torch", reason="parity needs torch: pip install -e '.[parity]'")
pytest.importorskip("transformers", reason="parity needs transformers: pip install -e '.[parity]'")

SMALL = replace(
    quickened(Config()),
    gpt=GptShape(2, 15, 3, 31, 101),
    batches=(1, 3),
    prompt=7,
    count=11,
    read_bytes=1204,
    seconds=0.0,
)
EVERYONE = [OURS, OURS_SCANNED, HAND_WRITTEN, TRANSFORMERS, *READS]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "quickened", lambda config: config)
        return benchmark.main(replace(SMALL, quick=True, out=out)), out


@pytest.fixture(scope="module")
def params():
    return benchmark.weights(SMALL)


def test_everyone_writes_and_it_is_written_down(run):
    document, out = run
    written = json.loads((out / "decoding-cpu.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(document))
    assert [(row["case"]["B"], row["contestant"]) for row in written["rows"]] == [
        (batch, name) for batch in (1, 3) for name in EVERYONE
    ]
    assert [row["distance"] for row in written["rows"][:: len(EVERYONE)]] == [0.0, 0.0]
    for row in written["rows"]:
        rate = row.get("tokens_per_second", row.get("bytes_per_second"))
        work = 1204 if row["contestant"] in READS else row["case"]["B"] * 11
        assert rate == pytest.approx(work / row["seconds"]["median"])
    assert "tokens/s |" in benchmark.tables(document["rows"])


def test_the_loop_by_hand_writes_what_reading_everything_anew_gives(params):
    """No cache: the whole text is read again for each token, with the weights turned so that the tokens differ."""
    params = jax.tree.map(lambda leaf: leaf + 0.3 * np.random.default_rng(3).normal(size=leaf.shape), params)
    params = jax.tree.map(np.float32, params)
    tokens_BT = benchmark.prompts(3, SMALL)
    model = benchmark.gpt(SMALL.gpt, 1, benchmark.SCANNED).model
    written = np.asarray(benchmark.by_hand(params, tokens_BT, SMALL).run())
    apply = jax.jit(model.apply)
    text_BT = np.concatenate([tokens_BT, np.zeros((3, 11), np.int32)], 1)
    for place in range(7, 7 + 11):
        text_BT[:, place] = np.argmax(apply(params, text_BT)[:, place - 1], axis=-1)
    assert np.array_equal(written, text_BT[:, 7:]) and len(np.unique(written)) > 5


def test_another_text_is_found_out(monkeypatch, params):
    other = jax.tree.map(lambda leaf: -leaf, params)
    right = benchmark.by_hand
    monkeypatch.setattr(benchmark, "by_hand", lambda params, *rest: right(other, *rest))
    with pytest.raises(Disagreement, match="'torch, by hand' and 'jaxformer' must agree"):
        benchmark.written(params, benchmark.of_transformers(params, SMALL), 1, SMALL)


def test_a_token_reads_all_weights_but_the_positions(params):
    D, V, F, L = 15, 101, 60, 2
    layer = 4 * D * D + 4 * D + 2 * D * F + F + D + 4 * D
    assert benchmark.read_bytes_per_token(params) == 4 * (V * D + L * layer + 2 * D)


def rows(batch, **times):
    names = {"ours": OURS, "hand": HAND_WRITTEN, "theirs": TRANSFORMERS, "read": READS[0], "sum": READS[1]}
    return [
        {
            "case": {"B": batch},
            "contestant": names[name],
            "times_first": {"median": value},
            "bytes": 30,
            "read_bytes": 4,
        }
        for name, value in times.items()
    ]


def test_the_faster_reader_counts_and_a_verdict_can_be_false():
    found = judge(
        [
            *rows(1, ours=1.0, hand=1.71, theirs=2.4, read=0.11, sum=0.1),
            *rows(16, ours=1.0, hand=1.0, theirs=3.0, read=0.2, sum=0.1),
        ]
    )
    assert [(v.goal, v.where, pytest.approx(v.value), v.met) for v in found] == [
        (ONE, "B 1", 2.4, False),
        (ONE_BY_HAND, "B 1", 1.71, True),
        (ONE_OF_READING, "B 1", 75.0, True),
        (MANY, "B 16", 3.0, True),
    ]


def test_texts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="must fit the context of 1024 tokens, got prompt=16, count=1009"):
        Config(count=1009)


def test_quick_keeps_its_figures_out_of_the_results():
    assert quickened(Config()).out != Config().out
