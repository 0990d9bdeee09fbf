"""A run folder: everything that is needed to go on with a run, to repeat it, and to look at it."""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO, TypeVar

from jaxformer.config.errors import UserError
from jaxformer.config.io import difference, from_json, parse_json, read_short, to_json
from jaxformer.text.kinds import load_tokenizer
from jaxformer.text.tokenizer import Tokenizer

Config = TypeVar("Config")


JOBS = {
    "TranslateConfig": "translate",
    "CausalLmConfig": "causal-lm",
    "MaskedLmConfig": "masked-lm",
    "ClassifyConfig": "classify",
    "InstructConfig": "instruct",
}
"""What follows `jaxformer train`, by the class of a run's configuration."""


class RunFolder:
    """`config.json`, `env.json`, `tokenizer.json`, `metrics.jsonl`, `tb/`, `checkpoints/`, `samples/` in one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def holds(self, config: Any, *free: str) -> bool:
        """Whether this run is there already; False where it may begin. Writes nothing.

        Raises UserError where the folder holds a run with another configuration, or something else than a run. The
        fields named in `free` may differ.
        """
        if self.config_path.exists():
            there = replace(self.config(type(config)), **{name: getattr(config, name) for name in free})
            changes = difference(there, config)
            if changes:
                raise UserError(
                    f"{self.path} holds a run with another configuration: {'; '.join(changes)}; "
                    "choose another --out, or repeat the options it was started with"
                )
            return True
        if self.path.exists() and (not self.path.is_dir() or set(self.path.iterdir()) - {self._lock_path}):
            raise UserError(f"{self.path} exists and is not a run folder; choose another --out")
        return False

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Makes the folder, and keeps it to this process until the `with` is left or the process ends, however it does.

        Raises UserError where another process has it, or where it cannot be made. Where the system has no such locks,
        nothing is kept.
        """
        with self._making():
            self.path.mkdir(parents=True, exist_ok=True)
            file = self._lock_path.open("a")
        with file:
            if not _lock(file):
                raise UserError(
                    f"{self.path} is in use by another process that trains there; wait for it, stop it, or choose "
                    "another --out"
                )
            yield

    def begin(self, config: Any, env: dict[str, Any]) -> None:
        """Make the folder of a new run. Raises UserError where that cannot be done."""
        with self._making():
            self.path.mkdir(parents=True, exist_ok=True)
            self.keep_config(config)
        write_whole(self.path / "env.json", json.dumps(env, indent=2) + "\n")

    def keep_config(self, config: Any) -> None:
        """Write the configuration of the run."""
        data = {"type": type(config).__name__, **to_json(config)}
        write_whole(self.config_path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")

    def keep_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Write the tokenizer of the run."""
        temporary = self.path / ".tokenizer"
        tokenizer.save(temporary)
        temporary.replace(self._tokenizer_folder if temporary.is_dir() else self.tokenizer_path)

    def kind(self) -> str:
        """The name of the class of the run's configuration, which says what it trains. Raises as `config`."""
        kind = self._kind(self._fields())
        if kind not in JOBS:
            raise UserError(f"{self.config_path}: type must be one of {', '.join(JOBS)}, got {kind!r}")
        return kind

    def config(self, cls: type[Config]) -> Config:
        """The configuration of the run. Raises UserError where the folder is not a run, or one of another kind."""
        data = self._fields()
        if (kind := self._kind(data)) != cls.__name__:
            raise UserError(
                f"{self.path} is a run of jaxformer train {JOBS.get(kind, kind)}, which cannot be used here; "
                f"give one of jaxformer train {JOBS.get(cls.__name__, cls.__name__)}"
            )
        try:
            return from_json(cls, {name: value for name, value in data.items() if name != "type"})
        except UserError as error:
            raise UserError(f"{self.config_path}: {error}") from None

    def _fields(self) -> Any:
        try:
            return parse_json(read_short(self.config_path))
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"{self.path} is not a run folder: it has no config.json; give a folder made by jaxformer train"
            ) from None
        except ValueError as error:
            raise UserError(f"{self.config_path} is damaged: {error}; restore it or train again") from None

    def _kind(self, data: Any) -> str:
        if not isinstance(data, dict) or not isinstance(data.get("type"), str):
            raise UserError(f'{self.config_path} does not say of what kind the run is; it needs a "type"')
        return data["type"]

    @contextlib.contextmanager
    def _making(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"{self.path} cannot be made: {error.strerror}; choose another --out") from None

    @property
    def _lock_path(self) -> Path:
        return self.path / ".lock"

    @property
    def config_path(self) -> Path:
        return self.path / "config.json"

    @property
    def tokenizer_path(self) -> Path:
        return self.path / "tokenizer.json"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def tensorboard_path(self) -> Path:
        return self.path / "tb"

    @property
    def checkpoints_path(self) -> Path:
        return self.path / "checkpoints"

    @property
    def samples_path(self) -> Path:
        return self.path / "samples"

    @property
    def stalls_path(self) -> Path:
        """Where each thread was when a step took too long."""
        return self.path / "stalls.txt"

    @property
    def _tokenizer_folder(self) -> Path:
        """Where a tokenizer of several files is, as those of pretrained models are."""
        return self.path / "tokenizer"

    @property
    def has_tokenizer(self) -> bool:
        """Whether the run's training has begun so far."""
        return self.tokenizer_path.exists() or self._tokenizer_folder.exists()

    def tokenizer(self) -> Any:
        """The tokenizer of the run, of whatever kind. Raises UserError where there is none."""
        if not self.has_tokenizer:
            raise UserError(
                f"no tokenizer at {self.tokenizer_path}; a run folder holds one once its training has begun"
            )
        return load_tokenizer(self.tokenizer_path if self.tokenizer_path.exists() else self._tokenizer_folder)

    def tokenizer_files(self) -> dict[str, bytes]:
        """What the tokenizer of the run is written as, by the names of its files."""
        files = self._tokenizer_folder.iterdir() if self._tokenizer_folder.exists() else [self.tokenizer_path]
        return {file.name: file.read_bytes() for file in files}

    def tokenizer_or(self, make: Callable[[], Any]) -> Any:
        """The tokenizer of the run, or the one that is made for it where it has none yet."""
        return self.tokenizer() if self.has_tokenizer else make()

    def records(self) -> list[dict[str, Any]]:
        """What was recorded of each step; a last line that was not finished does not count."""
        if not self.metrics_path.exists():
            return []
        lines = self.metrics_path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if _step_of(line) < float("inf")]

    def forget_after(self, step: int) -> None:
        """Drop metrics of steps past `step`, which a resumed run takes again."""
        if self.metrics_path.exists():
            lines = self.metrics_path.read_text(encoding="utf-8").splitlines()
            write_whole(self.metrics_path, "".join(f"{line}\n" for line in lines if _step_of(line) <= step))


def _lock(file: TextIO) -> bool:
    """False where another process has locked the file. The lock goes with the file when it is closed."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except json.JSONDecodeError:  # The last line of a run that was killed while it was written.
        return float("inf")


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is either the old one or the new one, whenever the process dies."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)


def warn(text: str) -> None:
    """A line on standard error, where that is still read, of what is wrong but stops nothing."""
    with contextlib.suppress(BrokenPipeError):
        print(f"{'warning':<10} {text}", file=sys.stderr, flush=True)
