"""One door to whatever was trained: a run folder, a Hugging Face folder, a GGUF file."""

from pathlib import Path

from jaxformer.recipes.bundle import Bundle, load_bundle
from jaxformer.recipes.translate import Trained
from jaxformer.recipes.translate import load as load_run


def load(path: str | Path) -> Trained | Bundle:
    """What is at a path: the best checkpoint of a run, or a pretrained model with its tokenizer.

    Raises UserError where nothing of the kind is there, or where it asks for what is not supported.
    """
    path = Path(path).expanduser()
    pretrained = path.suffix == ".gguf" or any(path.glob("*.safetensors")) or any(path.glob("pytorch_model*.bin"))
    return load_bundle(path) if pretrained else load_run(path)
