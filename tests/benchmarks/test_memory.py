"""Bytes are those of the compiled program, both losses are one, and a verdict can be false."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from benchmarks import memory as benchmark
from benchmarks.measure import Disagreement
from benchmarks.memory import ATTENTION, CHUNKS, STEP, WHOLE, Config, judge, largest_array, quickened
from benchmarks.steps import SCANNED, GptShape, gpt

pytestmark = pytest.mark.slow

B, T, V = 13, 29, 1009
SMALL = replace(quickened(Config()), lengths=(13, 17, 19), heads=3, head_width=7, gpt=GptShape(1, 6, 2, T, V), rows=B)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    return benchmark.main(replace(SMALL, out=out)), out


def test_the_largest_array_is_one_that_is_written():
    """A product is; what a fusion makes of it on the way to a sum is not, nor an argument that is larger."""

    def f(x, y):
        return jnp.sum(jnp.exp(x)), y.T @ y

    program = jax.jit(f).lower(jnp.zeros((211, 101)), jnp.zeros((3, 53))).compile()
    assert largest_array(program.as_text()) == 53 * 53 * 4


def test_the_logits_of_the_whole_batch_are_found(run):
    chunks, whole = (row for row in run[0]["rows"] if row["case"]["of"] == STEP)
    assert whole["largest_array_bytes"] == 4 * B * T * V > chunks["largest_array_bytes"] > 0
    assert whole["temporary_bytes"] > chunks["temporary_bytes"] > 0


def test_all_of_the_state_is_donated(run):
    row = run[0]["rows"][-1]
    state = jax.jit(gpt(SMALL.gpt, B).new_state)(jax.random.key(0))
    sizes = [jax.random.key_data(leaf).nbytes if leaf is state.key else leaf.nbytes for leaf in jax.tree.leaves(state)]
    assert row["aliased_bytes"] == row["state_bytes"] == sum(sizes)


def test_it_writes_json_and_tables(run, capsys):
    document, out = run
    written = json.loads((out / "memory-cpu.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(document))
    assert [row["case"] for row in written["rows"]] == [
        {"of": ATTENTION, "T": 13},
        {"of": ATTENTION, "T": 17},
        {"of": ATTENTION, "T": 19},
        {"of": STEP, "loss": CHUNKS},
        {"of": STEP, "loss": WHOLE},
    ]
    assert f"| {ATTENTION}, T 13 " in benchmark.tables(document["rows"])


def test_a_loss_that_is_another_is_found_out(monkeypatch):
    right = benchmark.cross_entropy
    monkeypatch.setattr(benchmark, "cross_entropy", lambda logits, labels: right(1.1 * logits, labels))
    learner = gpt(replace(SMALL.gpt, length=11), 3, SCANNED)
    learners = {CHUNKS: learner, WHOLE: replace(learner, objective=benchmark.whole_logits(learner.model))}
    with pytest.raises(Disagreement, match="'all logits at once' and 'cross-entropy by chunks'"):
        benchmark.verify(learners, seed=0)


@pytest.mark.parametrize(
    "temporaries, aliased, met",
    [((5, 9, 17.1), 7, [True, True, True]), ((5, 9, 33), 6, [False, False, False])],
    ids=["a constant and a line", "a square"],
)
def test_a_verdict_can_be_false(temporaries, aliased, met):
    rows = [
        {"case": {"of": ATTENTION, "T": T}, "temporary_bytes": 2**20 * bytes_}
        for T, bytes_ in zip((2048, 4096, 8192), temporaries, strict=True)
    ]
    rows.append({"case": {"of": STEP, "loss": CHUNKS}, "aliased_bytes": aliased, "state_bytes": 7})
    assert [verdict.met for verdict in judge(rows)] == met


def test_quick_keeps_its_figures_out_of_the_results():
    assert quickened(Config()).out != Config().out
