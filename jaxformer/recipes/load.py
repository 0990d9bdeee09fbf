"""One door to whatever was trained: a run folder, a Hugging Face folder, a GGUF file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxformer.config.errors import UserError
from jaxformer.recipes import causal_lm, instruct, masked_lm, translate
from jaxformer.recipes.bundle import Bundle, load_bundle
from jaxformer.training.run import RunFolder

RUNS: Mapping[str, Callable[[Path], Any]] = {
    "TranslateConfig": translate.load,
    "CausalLmConfig": causal_lm.load,
    "MaskedLmConfig": masked_lm.load,
    "InstructConfig": instruct.load,
}
"""What reads a run, by the class of its configuration."""


def load(path: str | Path) -> Any:
    """What is at a path: the best checkpoint of a run (`translate.Trained` or a `Bundle`), or a pretrained model with
    its tokenizer (a `Bundle`).

    Raises UserError where nothing of the kind is there, or where it asks for what is not supported.
    """
    path = Path(path).expanduser()
    if path.suffix == ".gguf" or any(path.glob("*.safetensors")) or any(path.glob("pytorch_model*.bin")):
        return load_bundle(path)
    return RUNS[RunFolder(path).kind()](path)


def load_model(path: str | Path) -> Bundle:
    """As `load`, for what needs a decoder or an encoder. UserError for a run that translates."""
    loaded = load(path)
    if not isinstance(loaded, Bundle):
        raise UserError(f"{path} is a run that translates; use jaxformer translate {path}")
    return loaded
