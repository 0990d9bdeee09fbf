"""A corpus of five words that a small model learns in seconds, and the command line in a process of its own."""

import json
import os
import random
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

from jaxformer.cli import run
from jaxformer.cli.keeping import CACHE, KEEP_MEMORY, TUNABLES

ROOT = Path(__file__).resolve().parents[2]

GERMAN = {"one": "eins", "two": "zwei", "three": "drei", "four": "vier", "five": "fünf"}

STEPS, EPOCH = 60, 5
"""Steps of a whole run, and of one epoch of it."""

MODEL = """model.width=32 model.heads=2 model.feed_forward=64 model.encoder_layers=1 model.decoder_layers=1
    model.dropout=0.05"""

SETTINGS = f"""steps={STEPS} tokenizer.vocabulary=300 batches.tokens=256 batches.buckets=1 batches.max_length=8
    optimization.schedule.peak=0.02 optimization.average=Ema(decay=0.9) search.beams=2 search.length=16
    checkpoint_every=10 watch.validate_every=15 watch.log_every=20 watch.keep=3"""


def pairs(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Different sentences of four and five numbers, with their translations."""
    every = [words for length in (4, 5) for words in product(GERMAN, repeat=length)]
    chosen = random.Random(seed).sample(every, count)
    return [(" ".join(words), " ".join(GERMAN[word] for word in words)) for words in chosen]


def write_split(folder: Path, name: str, rows: list[tuple[str, str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for column, language in enumerate(("en", "de")):
        text = "".join(row[column] + "\n" for row in rows)
        (folder / f"{name}.{language}").write_text(text, encoding="utf-8")


def write_corpus(folder: Path, seed: int = 0) -> Path:
    """200 pairs to train on and an over-long one, 8 to validate, 7 to test."""
    rows = pairs(215, seed)
    write_split(folder, "train", [*rows[:200], ("one " * 50, "eins " * 50)])
    write_split(folder, "valid", rows[200:208])
    write_split(folder, "test", rows[208:])
    return folder


def training(data: Path, out: Path, *more: str) -> list[str]:
    """The arguments that train the toy model."""
    where = ["--data", str(data), "--source", "en", "--target", "de", "--out", str(out)]
    return ["train", "translate", *where, *MODEL.split(), *SETTINGS.split(), *more]


START = "from jaxformer.cli import main; main()"

SIGNALLED = """
import os, signal, sys, time
from pathlib import Path
from jaxformer.cli import main
from jaxformer.recipes.translate import TranslationTask

number, at, awaited = signal.Signals[sys.argv[1]], int(sys.argv[2]), Path(sys.argv[3])
del sys.argv[1:4]
step = TranslationTask.step

def signalled(task, state, batch):
    if int(state.step) == at:
        while not awaited.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), number)
    return step(task, state, batch)

TranslationTask.step = signalled
main()
"""
"""The command line, in a process that sends itself a signal once so many steps are done and a file is there."""


HASTY = os.environ.get("XLA_FLAGS", "")
"""Tells the compiler of a process what that of the tests is told: not to try hard, which saves most of the time."""

SHARED = os.environ.get(CACHE, "")
"""Where the tests keep what they have compiled: most processes train the same toy model."""


def process(
    *arguments: str, code: str = START, devices: int = 1, flags: str = HASTY, cache: str = SHARED, **options
) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, with these flags for the compiler, and a cache or none."""
    flags = f"{flags} --xla_force_host_platform_device_count={devices}"
    kept = {TUNABLES: ":".join(KEEP_MEMORY), CACHE: cache}
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", **kept}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, **options)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a `metrics.jsonl`, in order."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, byte for byte, and every folder in it."""
    every = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in every}


def refusal(capsys, *arguments: str) -> str:
    """The one line that a command is refused with; exit code 2 and nothing else said."""
    code = run(arguments)
    out, err = capsys.readouterr()
    assert code == 2, (code, out, err)
    assert out == "" and err.count("\n") == 1 and err.startswith("jaxformer: ") and err.endswith("\n"), (out, err)
    return err.removeprefix("jaxformer: ").rstrip("\n")
