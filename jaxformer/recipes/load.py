"""One door to whatever was trained: a run folder, a Hugging Face folder, a GGUF file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxformer.config.errors import UserError
from jaxformer.recipes import causal_lm, classify, instruct, masked_lm, translate
from jaxformer.recipes.bundle import Bundle, load_bundle
from jaxformer.training.run import RunFolder

RUNS: Mapping[str, Callable[[Path], Any]] = {
    "TranslateConfig": translate.load,
    "CausalLmConfig": causal_lm.load,
    "MaskedLmConfig": masked_lm.load,
    "ClassifyConfig": classify.load,
    "InstructConfig": instruct.load,
}
"""What reads a run, by the class of its configuration."""


_OTHERS: Mapping[type, tuple[str, str]] = {
    translate.Trained: ("translates", "translate"),
    classify.Trained: ("classifies", "classify"),
}
"""What the runs that are no `Bundle` do, and the command that uses them."""


def load(path: str | Path) -> Any:
    """What is at a path: the best checkpoint of a run (`translate.Trained`, `classify.Trained` or a `Bundle`), or
    a pretrained model with its tokenizer (a `Bundle`).

    Raises UserError where nothing of the kind is there, or where it asks for what is not supported.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise UserError(f"nothing is at {path}; give a run folder, a Hugging Face folder or a .gguf file")
    weights = ("*.safetensors", "pytorch_model*.bin")
    if path.suffix == ".gguf" or any(True for pattern in weights for _ in path.glob(pattern)):
        return load_bundle(path)
    return RUNS[RunFolder(path).kind()](path)


def load_model(path: str | Path) -> Bundle:
    """As `load`, for what needs a decoder or an encoder. UserError for a run that translates or classifies."""
    loaded = load(path)
    if not isinstance(loaded, Bundle):
        raise _unfit(path, loaded)
    return loaded


def load_exportable(path: str | Path) -> Bundle | translate.Trained:
    """As `load`, for what needs a `save` into the Hugging Face layout. UserError for a run that classifies."""
    loaded = load(path)
    if not isinstance(loaded, Bundle | translate.Trained):
        raise _unfit(path, loaded)
    return loaded


def _unfit(path: str | Path, loaded: Any) -> UserError:
    does, command = _OTHERS[type(loaded)]
    return UserError(f"{path} is a run that {does}, which cannot be used here; jaxformer {command} {path} uses it")


def load_classifier(path: str | Path) -> classify.Trained:
    """As `load`, for what needs a run that classifies; UserError for anything else."""
    loaded = load(path)
    if not isinstance(loaded, classify.Trained):
        raise UserError(f"{path} is no run that classifies; make one with jaxformer train classify --data FOLDER")
    return loaded
