"""A decoder of one small layer that learns the alphabet, in this process or in one that can be told to stop."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from jaxformer.cli.keeping import CACHE, KEEP_MEMORY, TUNABLES
from jaxformer.config.causal_lm import CausalLmConfig
from jaxformer.config.decoders import gpt2
from jaxformer.config.text import Characters
from jaxformer.config.text_data import Packed
from jaxformer.config.training import AdamW, Cosine, Ema, OptimizationConfig, WatchConfig
from tests.cli.toy import HASTY, ROOT, START

LETTERS = "abcdefgh"


def write_corpus(folder: Path) -> Path:
    """Documents that go round the alphabet from any letter on; those of the valid split are other lengths."""
    folder.mkdir(parents=True)
    for name, lengths in (("train", range(5, 25)), ("valid", range(26, 28))):
        rows = ("".join(LETTERS[(i + start) % 8] for i in range(n)) for n in lengths for start in range(8))
        lines = (json.dumps({"text": text}) + "\n" for text in rows)
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def config(data: Path, **changes) -> CausalLmConfig:
    """With dropout and an average, so that a run goes on as it was only where its keys and its state do."""
    return replace(
        CausalLmConfig(
            data=str(data),
            model=gpt2(16, 2, 2, context=32, dropout=0.1),
            tokenizer=Characters(),
            batches=Packed(length=24, rows=8),
            optimization=OptimizationConfig(AdamW(), Cosine(peak=1e-2, warmup=10), average=Ema()),
            watch=WatchConfig(validate_every=50),
            steps=100_000,
            checkpoint_every=20,
        ),
        **changes,
    )


def arguments(config: CausalLmConfig, out: Path, *more: str) -> list[str]:
    """The command that trains so."""
    choices = ("model", "tokenizer", "batches", "optimization", "watch", "bad_numbers")
    chosen = [f"--{name}={getattr(config, name)!r}" for name in choices]
    plain = [f"--{name}={getattr(config, name)}" for name in ("data", "steps", "checkpoint_every", "seed")]
    return ["train", "causal-lm", *chosen, *plain, f"--out={out}", *more]


def started(command: list[str], code: str = START, devices: int = 1, **environment: str) -> subprocess.Popen[str]:
    """The command line in a process of its own, whose output can be read while it runs."""
    flags = f"{HASTY} --xla_force_host_platform_device_count={devices}"
    kept = {TUNABLES: ":".join(KEEP_MEMORY), CACHE: "", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *command],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", **kept, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(process: subprocess.Popen[str], text: str) -> str:
    """Reads what the process prints up to a line with this text; fails where it ends before."""
    said = []
    for line in process.stdout or ():
        said.append(line)
        if text in line:
            return "".join(said)
    raise AssertionError(f"no {text!r} in {''.join(said)}, {process.stderr.read() if process.stderr else ''}")
