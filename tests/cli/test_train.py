"""What a training run says and leaves behind."""

import io
import json
import math
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jaxformer.analysis.parameters import abstract_parameters, parameter_count, parameter_table
from jaxformer.cli import run as command
from jaxformer.config.choice import choose
from jaxformer.config.io import to_json
from jaxformer.config.model import Learned
from jaxformer.config.training import Wsd
from jaxformer.config.translate import TranslateConfig
from jaxformer.models.build import build
from jaxformer.text.bpe import BpeTokenizer
from jaxformer.training.checkpoint import Checkpoints
from jaxformer.training.loop import Interrupted
from jaxformer.training.run import RunFolder
from tests.cli.toy import EPOCH, STEPS, contents, process, read_metrics, refusal, training
from tests.training.test_journal import scalars

VALIDATED = [15, 30, 45, 60]
MEASURED = {"step", "loss", "nll", "accuracy", "gradient_norm", "tokens", "skipped"}
HELD_OUT = {"valid_loss", "valid_accuracy", "valid_bleu"}


def config_of(trained):
    return RunFolder(trained.out).config(TranslateConfig)


def test_the_folder_holds_all_that_is_promised(trained):
    names = {path.name for path in trained.out.iterdir()}
    files = {"config.json", "env.json", "metrics.jsonl", "tokenizer.json", "test.json", "attention.png"}
    assert names == files | {"checkpoints", "samples", "tb", ".lock"}
    assert [path.name for path in sorted((trained.out / "samples").iterdir())] == [f"{n:07}.txt" for n in VALIDATED]
    assert (trained.out / "attention.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert not [path for path in trained.out.rglob("*tmp*")]


def test_the_configuration_is_the_one_asked_for_and_reads_back(trained):
    config = config_of(trained)
    assert config == choose(TranslateConfig(), training(trained.data, trained.out)[2:])[0]
    text = (trained.out / "config.json").read_text(encoding="utf-8")
    named = {"type": "TranslateConfig", **to_json(config)}
    assert json.dumps(named, indent=2, ensure_ascii=False) + "\n" == text


def test_every_step_has_one_record_in_full_precision(trained):
    rows = read_metrics(trained.out / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    for row in rows:
        assert row.keys() == (MEASURED | HELD_OUT if row["step"] in VALIDATED else MEASURED)
        assert all(np.float32(row[name]) == row[name] for name in MEASURED) and math.isfinite(row["loss"])
    # Rounded to six places, a float32 would be another number nearly always.
    assert sum(round(row["loss"], 6) != row["loss"] for row in rows) > STEPS / 2
    assert rows[-1]["loss"] < rows[0]["loss"] / 2


def test_tensorboard_has_the_same_numbers(trained):
    rows = read_metrics(trained.out / "metrics.jsonl")
    expected = [(row["step"], key, np.float32(value)) for row in rows for key, value in row.items() if key != "step"]
    assert sorted(scalars(trained.out / "tb")) == sorted(expected)


def test_samples_show_source_translation_and_reference(trained):
    text = (trained.out / "samples" / f"{STEPS:07}.txt").read_text(encoding="utf-8")
    blocks = [dict(line.split(None, 1) for line in block.splitlines()) for block in text.strip().split("\n\n")]
    assert [block.keys() for block in blocks] == [{"source", "translated", "reference"}] * 8
    sources = (trained.data / "valid.en").read_text(encoding="utf-8").splitlines()
    references = (trained.data / "valid.de").read_text(encoding="utf-8").splitlines()
    assert [block["source"] for block in blocks] == sources
    assert [block["reference"] for block in blocks] == references


def test_the_environment_is_written_down(trained):
    env = json.loads((trained.out / "env.json").read_text())
    assert env["devices"] == [{"platform": "cpu", "kind": "cpu"}]
    assert {"jax", "flax", "optax", "numpy"} <= env["versions"].keys() and env["python"] and env["cores"] >= 1


def test_the_newest_checkpoints_and_the_best_are_kept_and_the_best_is_tested(trained):
    rows = read_metrics(trained.out / "metrics.jsonl")
    scores = {row["step"]: row["valid_bleu"] for row in rows if "valid_bleu" in row}
    best = max(scores, key=lambda step: (scores[step], -step))
    with Checkpoints(trained.out / "checkpoints") as checkpoints:
        progress = checkpoints.progress(STEPS)
        assert checkpoints.best_step == best and best in checkpoints.steps
        assert checkpoints.steps[-1] == STEPS and len(set(checkpoints.steps) - {best}) in (2, 3)
    assert (progress.best_step, progress.best_score, progress.next_batch) == (best, scores[best], STEPS)
    assert json.loads((trained.out / "test.json").read_text())["step"] == best
    assert f"testing    the checkpoint of step {best}, beam 2\n" in trained.printed


def test_the_banner_comes_before_the_first_step(trained):
    banner, _, rest = trained.printed.partition("step 1/60 ")
    assert rest
    said = {line[:10].strip(): line[11:] for line in banner.splitlines()}
    assert list(said) == [
        "devices",
        "model",
        "work",
        "data",
        "batches",
        "output",
        "note",
        "compiled",
        "memory",
        "attention",
    ]
    config, vocabulary = config_of(trained), BpeTokenizer.load(trained.out / "tokenizer.json").size
    parameters = parameter_count(parameter_table(abstract_parameters(build(config.model, vocabulary))))
    assert said["devices"].startswith("1 x cpu, ") and "'data': 1" in said["devices"]
    assert said["model"] == f"{parameters:,} parameters, float32"
    assert said["work"].endswith(" MFLOP per predicted token") and float(said["work"].split()[0]) > 0
    assert said["data"] == f"{trained.data} en→de, 201 / 8 / 7 pairs, vocabulary {vocabulary}"
    # 40 rows of up to 6 tokens; the target has one position more, for the mark that begins it.
    assert " target tokens a step, 520 positions on both sides, " in said["batches"]
    assert said["batches"].endswith(f", {EPOCH} steps an epoch")
    assert said["output"] == str(trained.out)
    assert said["note"] == "dropped 1 of 201 sentence pairs (0.50%) longer than max_length=8 tokens"
    assert said["compiled"].startswith("1 shapes (40x6) in ")
    assert re.fullmatch(r"[\d.]+ KiB of state and batch, [\d.]+ [KM]iB to work in", said["memory"])
    assert said["attention"].startswith("Formula() for 40 x ") and said["attention"].endswith(": there are few scores")


def test_without_a_terminal_there_are_plain_lines(trained):
    assert "\x1b" not in trained.printed and "\r" not in trained.printed
    steps = [line for line in trained.printed.splitlines() if line.startswith("step ")]
    assert [line.split()[1] for line in steps] == ["1/60", "15:", "20/60", "30:", "40/60", "45:", "60/60", "60:"]
    shown = [line for line in steps if "/60" in line]
    assert all("loss " in line and " tokens/s" in line and line.endswith(" left") for line in shown)
    assert all("valid loss " in line and "BLEU " in line for line in steps if line not in shown)


def test_it_ends_with_scores_examples_and_what_to_do_next(trained):
    end = trained.printed.partition("trained    ")[2]
    scores = json.loads((trained.out / "test.json").read_text())
    assert f"BLEU{scores['bleu']['score']:21.2f}   {scores['bleu']['signature']}\n" in end
    for source in (trained.data / "test.en").read_text().splitlines():
        assert f"\n  {source}\n    → " in end
    assert f"\nattention  {trained.out / 'attention.png'}\n" in end
    assert f"\n           jaxformer evaluate {trained.out} --json\n" in end


@pytest.mark.slow
def test_the_same_command_again_tests_again_and_changes_nothing(trained):
    before = contents(trained.out)
    result = process(*training(trained.data, trained.out))
    assert result.returncode == 0, result.stderr
    assert f"output     {trained.out}, resumed at step {STEPS}\n" in result.stdout and "step 1/60" not in result.stdout
    after = contents(trained.out)
    assert {name: data for name, data in after.items() if not name.startswith("tb/")} == {
        name: data for name, data in before.items() if not name.startswith("tb/")
    }


@pytest.mark.slow
def test_a_mesh_of_eight_devices_gives_the_same_losses(trained, tmp_path):
    out = tmp_path / "run"
    mesh = ("mesh.data=2", "mesh.fsdp=2", "mesh.tensor=2")
    result = process(*training(trained.data, out, *mesh, "--until=4"), devices=8)
    assert result.returncode == 0, result.stderr
    assert "devices    8 x cpu, " in result.stdout
    assert "mesh {'data': 2, 'fsdp': 2, 'tensor': 2}\n" in result.stdout
    single = read_metrics(trained.out / "metrics.jsonl")[:4]
    for row, expected in zip(read_metrics(out / "metrics.jsonl"), single, strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=2e-6)
        assert row["gradient_norm"] == pytest.approx(expected["gradient_norm"], rel=1e-5)
        assert row["tokens"] == expected["tokens"]
    # What eight devices trained, one device can use.
    code = "import sys; from jaxformer import load; print(load(sys.argv[1]).step)"
    result = process(str(out), code=code)
    assert result.stdout == "4\n", result.stderr


@pytest.mark.slow
def test_patience_ends_a_run_early(trained, tmp_path):
    out = tmp_path / "run"
    result = process(*training(trained.data, out, "watch.validate_every=1", "watch.patience=3"))
    assert result.returncode == 0, result.stderr
    rows = read_metrics(out / "metrics.jsonl")
    scores = [row["valid_bleu"] for row in rows]
    best = scores.index(max(scores)) + 1
    assert len(scores) == best + 3 < STEPS
    assert f"no better score in 3 validations, the best was at step {best}\n" in result.stdout
    assert f"testing    the checkpoint of step {best}, " in result.stdout
    # The record says what an uninterrupted run without patience would have said.
    single = read_metrics(trained.out / "metrics.jsonl")
    assert [row["loss"] for row in rows] == [row["loss"] for row in single[: len(rows)]]


def test_a_run_that_fails_says_why_in_one_line(trained, tmp_path, capsys, monkeypatch):
    def broken(config, out, until):
        raise RuntimeError("the reason\nand its details")

    monkeypatch.setattr("jaxformer.recipes.translate.train", broken)
    assert command(training(trained.data, tmp_path)) == 1
    assert capsys.readouterr().err == "jaxformer: RuntimeError: the reason (--debug shows where)\n"
    assert command([*training(trained.data, tmp_path), "--debug"]) == 1
    assert capsys.readouterr().err.startswith("Traceback")


@pytest.fixture
def asked(monkeypatch):
    """What training was asked for, instead of training."""
    calls = []
    monkeypatch.setattr("jaxformer.recipes.translate.train", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr("jaxformer.recipes.translate.finish", lambda out: None)
    return calls


@pytest.mark.parametrize("until, tested", [(None, True), (60, True), (61, True), (59, False)])
def test_only_a_whole_run_is_tested(trained, tmp_path, monkeypatch, asked, until, tested):
    finished = []
    monkeypatch.setattr("jaxformer.recipes.translate.finish", finished.append)
    more = [] if until is None else [f"--until={until}"]
    assert command(training(trained.data, tmp_path / "run", *more)) == 0
    assert asked == [(config_of(trained), tmp_path / "run", until)] and finished == [tmp_path / "run"] * tested


def test_a_run_alone_goes_on_as_it_began(trained, asked, tmp_path):
    """--out with nothing else takes all from the run; with any field the defaults hold, as for a new run."""
    out = str(trained.out)
    for more in ([], ["--until", "61"]):
        assert command(["train", "translate", "--out", out, *more]) == 0
    assert command(["train", "translate", f"out={out}", "--steps=1650"]) == 0
    assert command(["train", "translate", f"--out={tmp_path}"]) == 0
    run_s, start = config_of(trained), TranslateConfig()
    assert asked == [
        *((run_s, trained.out, None), (run_s, trained.out, 61)),
        *((start, trained.out, None), (start, tmp_path, None)),
    ]


def test_a_run_alone_that_is_damaged_is_refused(asked, tmp_path, capsys):
    (tmp_path / "config.json").write_text("{")
    assert refusal(capsys, "train", "translate", "--out", str(tmp_path)).startswith(
        f"{tmp_path / 'config.json'} is dam"
    )
    assert asked == []


class Closed(io.StringIO):
    """A pipe whose reader has left."""

    def __init__(self, place):
        super().__init__()
        self.file = place.open("w")

    def write(self, text):
        raise BrokenPipeError

    def flush(self):
        raise BrokenPipeError

    def fileno(self):
        return self.file.fileno()


@pytest.mark.parametrize(
    "stopped, told",
    [
        (Interrupted(7), "\nsaved      step 7 in {out}; go on with: jaxformer {command}\n"),
        (BrokenPipeError(), "\nstopped    go on from the last checkpoint in {out} with: jaxformer {command}\n"),
    ],
    ids=["while it trains", "before or after"],
)
@pytest.mark.parametrize("both", [False, True], ids=["standard output", "standard error too"])
def test_a_reader_that_leaves_interrupts_a_training(tmp_path, monkeypatch, capsys, stopped, told, both):
    def train(config, out, until):
        raise stopped

    monkeypatch.setattr("jaxformer.recipes.translate.train", train)
    monkeypatch.setattr("sys.stdout", Closed(tmp_path / "stdout"))
    if both:
        monkeypatch.setattr("sys.stderr", Closed(tmp_path / "stderr"))
    arguments = training(tmp_path, tmp_path)
    assert command(arguments) == 130
    assert capsys.readouterr().err == ("" if both else told.format(out=tmp_path, command=shlex.join(arguments)))


def test_without_a_folder_it_is_named_after_what_is_trained(asked):
    for more in ([], ["--model", "gru-tiny", "data=/x/my data", "target=de"], ["model.width=64"]):
        assert command(["train", "translate", *more]) == 0
    assert [str(out) for _, out, _ in asked] == [
        "runs/translate-builtin-en-zh-transformer-mini",
        "runs/translate-my-data-en-de-gru-tiny",
        "runs/translate-builtin-en-zh-model",
    ]


def test_every_spelling_asks_for_the_same(asked):
    fields = {
        "model.encoder_layers": "3",
        "model.position": "Learned(length=77)",
        "optimization.schedule": "Wsd(peak=0.001)",
        "tokenizer.lowercase": "True",
        "out": "a=b",
        "until": "7",
    }
    spellings = (
        lambda name, value: [f"{name}={value}"],
        lambda name, value: [f"--{name}={value}"],
        lambda name, value: [f"--{name}", value],
        lambda name, value: [f"--{name.replace('_', '-')}", value],
    )
    for spell in spellings:
        assert command(["train", "translate", *(word for field in fields.items() for word in spell(*field))]) == 0
    start = TranslateConfig()
    expected = replace(
        start,
        model=replace(start.model, encoder_layers=3, position=Learned(77)),
        optimization=replace(start.optimization, schedule=Wsd(peak=0.001)),
        tokenizer=replace(start.tokenizer, lowercase=True),
    )
    assert asked == [(expected, Path("a=b"), 7)] * 4
