"""A run folder: everything that is needed to go on with a run, to repeat it, and to look at it."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any, TypeVar

from jaxformer.config.errors import UserError
from jaxformer.config.io import difference, from_json, to_json
from jaxformer.text.bpe import BpeTokenizer
from jaxformer.text.tokenizer import Tokenizer

Config = TypeVar("Config")


class RunFolder:
    """`config.json`, `env.json`, `tokenizer.json`, `metrics.jsonl`, `tb/`, `checkpoints/`, `samples/` in one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def holds(self, config: Any) -> bool:
        """Whether this run is there already; False where it may begin. Writes nothing.

        Raises UserError where the folder holds a run with another configuration, or something else than a run.
        """
        if self.config_path.exists():
            changes = difference(self.config(type(config)), config)
            if changes:
                raise UserError(
                    f"{self.path} holds a run with another configuration: {'; '.join(changes)}; "
                    "choose another --out, or repeat the options it was started with"
                )
            return True
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise UserError(f"{self.path} exists and is not a run folder; choose another --out")
        return False

    def begin(self, config: Any, env: dict[str, Any]) -> None:
        """Make the folder of a new run. Raises UserError where that cannot be done."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_whole(self.config_path, json.dumps(to_json(config), indent=2, ensure_ascii=False) + "\n")
        except OSError as error:
            raise UserError(f"{self.path} cannot be made: {error.strerror}; choose another --out") from None
        write_whole(self.path / "env.json", json.dumps(env, indent=2) + "\n")

    def keep_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Write the tokenizer of the run."""
        temporary = self.path / ".tokenizer.json"
        tokenizer.save(temporary)
        temporary.replace(self.tokenizer_path)

    def config(self, cls: type[Config]) -> Config:
        """The configuration of the run. Raises UserError where the folder is not a run."""
        try:
            data = json.loads(self.config_path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"{self.path} is not a run folder: it has no config.json; give a folder made by jaxformer train"
            ) from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{self.config_path} is damaged: {error}; restore it or train again") from None
        try:
            return from_json(cls, data)
        except UserError as error:
            raise UserError(f"{self.config_path}: {error}") from None

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

    def tokenizer(self) -> BpeTokenizer:
        """The tokenizer of the run. Raises UserError where there is none."""
        return BpeTokenizer.load(self.tokenizer_path)

    def forget_after(self, step: int) -> None:
        """Drop metrics of steps past `step`, which a resumed run takes again."""
        if self.metrics_path.exists():
            lines = self.metrics_path.read_text(encoding="utf-8").splitlines()
            write_whole(self.metrics_path, "".join(f"{line}\n" for line in lines if _step_of(line) <= step))


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
