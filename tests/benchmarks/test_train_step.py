"""PyTorch's models are ours in loss and gradient, what is judged stands in the rows, and a verdict can be false."""

import json
from dataclasses import replace

import jax
import pytest

from benchmarks import train_step as benchmark
from benchmarks.measure import Disagreement
from benchmarks.steps import SCANNED, BertShape, GptShape, PairShape, gpt
from benchmarks.train_step import (
    BFLOAT16,
    COMPILED,
    EAGER,
    GPT_RATE,
    GPT_STEP,
    MATRIX_PRODUCT,
    OURS,
    OURS_BFLOAT16,
    OURS_SCANNED,
    PAIR_STEP,
    SCAN,
    Config,
    judge,
    quickened,
)
from jaxformer.objectives import causal

torch = pytest.importorskip("torch", reason="parity needs torch: pip install -e '.[parity]'")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")]

SMALL = replace(
    quickened(Config()),
    gpt=GptShape(2, 15, 3, 7, 29),
    rows=(5,),
    pairs=PairShape(2, 6, 3, 7, 5, 29),
    bert=BertShape(2, 15, 3, 11, 4, 5, 29),
)


@pytest.fixture(scope="module")
def races():
    return {race.case["model"]: race for race in benchmark.races(SMALL)}


def params_of(race):
    return jax.device_get(jax.jit(race.learners[OURS_SCANNED].new_state)(jax.random.key(1)).params)


def only_scanned(race):
    """One layout is enough for both: they are equal in values and gradients (tests/laws)."""
    return replace(race, learners={OURS: race.learners[OURS_SCANNED]})


@pytest.mark.parametrize("model", ["GPT", "encoder-decoder", "BERT"])
def test_loss_and_gradient_are_torchs(races, model):
    distances = benchmark.verify(only_scanned(races[model]), params_of(races[model]))
    assert distances[OURS] < 1e-5


def test_another_loss_is_found_out(races):
    race = only_scanned(races["GPT"])
    learner = race.learners[OURS]
    other = replace(race, learners={OURS: replace(learner, objective=causal(learner.model, z_weight=0.1))})
    with pytest.raises(Disagreement, match="'jaxformer' and 'torch' must agree"):
        benchmark.verify(other, params_of(races["GPT"]))


def test_operations_are_six_for_each_weight_and_token_and_half_of_the_scores(races):
    """Matrices of 4 D² for attention, 8 D² for the feed-forward layer and V D for the logits; scores of two products
    over half of T².
    """
    D, T, V, B, L = 15, 7, 29, 5, 2
    assert races["GPT"].flops == B * (6 * T * (L * 12 * D**2 + V * D) + L * 6 * T * T * D)


def test_all_of_it_is_measured_and_written(monkeypatch, tmp_path, races):
    scanned, half = races["GPT"].learners[OURS_SCANNED], gpt(SMALL.gpt, 5, SCANNED, "bfloat16")
    learners = {OURS: scanned, OURS_SCANNED: scanned, OURS_BFLOAT16: half}
    monkeypatch.setattr(benchmark, "races", lambda config: iter([replace(races["GPT"], learners=learners)]))
    monkeypatch.setattr(benchmark, "quickened", lambda config: config)
    document = benchmark.main(replace(SMALL, seconds=0.0, quick=True, out=tmp_path))
    written = json.loads((tmp_path / "train_step-cpu.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(document))
    assert [row["contestant"] for row in written["rows"]] == [OURS, OURS_SCANNED, OURS_BFLOAT16, EAGER, MATRIX_PRODUCT]
    assert written["rows"][0]["distances"][OURS] < 1e-5 < written["rows"][0]["distances"][OURS_BFLOAT16]
    assert [verdict["goal"] for verdict in written["verdicts"]] == [
        g.name for g in (GPT_STEP, GPT_RATE, BFLOAT16, SCAN)
    ]


def test_both_sides_learn():
    """A step of each changes the loss alike, once the rate is no longer zero."""
    learner = gpt(SMALL.gpt, 5, SCANNED)
    contestant = benchmark.ours(OURS, learner, seed=1)
    losses = [float(contestant.run()) for _ in range(4)]
    assert losses[0] == losses[1] > losses[2] > losses[3]


def rows(model, **times):
    names = {"ours": OURS, "scanned": OURS_SCANNED, "half": OURS_BFLOAT16, "eager": EAGER, "compiled": COMPILED}
    names |= {"product": MATRIX_PRODUCT}
    flops = {OURS: 3.0, MATRIX_PRODUCT: 8.0}
    return [
        {"case": {"model": model, "rows": 5}, "contestant": names[name], "flops": flops.get(names[name])}
        | {"times_first": {"median": value, "quartiles": [value, value]}}
        for name, value in times.items()
    ]


def test_the_better_rival_counts_and_a_verdict_can_be_false():
    found = judge(
        [
            *rows("GPT", ours=1.0, scanned=1.06, half=0.7, eager=1.5, compiled=1.14, product=2.0),
            *rows("encoder-decoder", ours=1.0, scanned=1.05, eager=1.15, compiled=1.3, product=2.0),
        ]
    )
    assert [(v.goal, v.where, pytest.approx(v.value), v.met) for v in found] == [
        (GPT_STEP, "B 5, torch, compiled", 1.14, False),
        (GPT_RATE, "B 5", 75.0, False),
        (BFLOAT16, "B 5", 1 / 0.7, False),
        (SCAN, "GPT, rows 5", 1.06, False),
        (PAIR_STEP, "B 5, torch", 1.15, True),
        (SCAN, "encoder-decoder, rows 5", 1.05, True),
    ]


def test_quick_keeps_its_figures_out_of_the_results():
    assert quickened(Config()).out != Config().out and not quickened(Config()).compiled
