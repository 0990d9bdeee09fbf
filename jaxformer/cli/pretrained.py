"""Commands for decoders and encoders, wherever they are: runs, Hugging Face folders, GGUF files."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from jaxformer.cli.options import Option, Positional, parse, standard_input, turns, utf8
from jaxformer.config.errors import UserError
from jaxformer.config.ranges import at_least
from jaxformer.config.sampling import Sampling


@dataclass(frozen=True)
class Generate:
    """Continue a text with a decoder; each line of standard input where no text is given."""

    model: Positional[Path]
    """A run folder, a Hugging Face folder, or a .gguf file."""
    prompt: Positional[str | None] = None
    """The text to continue."""
    sampling: Annotated[Sampling, Option(name="")] = Sampling()
    max_tokens: int = 100
    """Most tokens that are written."""
    stop: tuple[str, ...] = ()
    """Texts before which writing ends."""
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, 1, "max_tokens")
        if "" in self.stop:
            raise ValueError("--stop must not be empty")


@dataclass(frozen=True)
class Chat:
    """Talk with a pretrained model by its own chat template; an empty line or the end of input ends the talk."""

    model: Positional[Path]
    """A run folder, a Hugging Face folder, or a .gguf file."""
    system: str | None = None
    """What the model is told before the first turn, instead of what its template says."""
    sampling: Annotated[Sampling, Option(name="")] = Sampling(temperature=0.7, top_p=0.9)
    max_tokens: int = 500
    """Most tokens of an answer."""
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, 1, "max_tokens")


@dataclass(frozen=True)
class Embed:
    """A unit vector for each text, as a line of JSON; lines of standard input where no text is given."""

    model: Positional[Path]
    """A Hugging Face folder with an encoder, or a run of train masked-lm."""
    text: Positional[tuple[str, ...]] = ()


@dataclass(frozen=True)
class Fill:
    """Tell the hidden words of each text, for each mask the likeliest tokens and their probabilities; lines of standard
    input where no text is given.
    """

    model: Positional[Path]
    """A Hugging Face folder with a BERT, or a run of train masked-lm."""
    text: Positional[tuple[str, ...]] = ()
    """Texts with masks: "The [MASK] sat on the mat." is one."""
    top: int = 5
    """Tokens shown for each mask."""

    def __post_init__(self) -> None:
        at_least(self, 1, "top")


@dataclass(frozen=True)
class Export:
    """Write a model in the layout of Hugging Face: config.json, safetensors, tokenizer."""

    model: Positional[Path]
    """A run folder, a Hugging Face folder or a GGUF file."""
    out: Positional[Path]
    """The folder to be written; it must not hold a model yet."""


def generate(arguments: Sequence[str]) -> int:
    """`jaxformer generate`."""
    asked = parse(Generate, arguments, "generate")
    from jaxformer.recipes.load import load_model

    prompts = standard_input() if asked.prompt is None else [utf8(asked.prompt)]
    bundle, stop = load_model(asked.model).apart(), tuple(map(utf8, asked.stop))
    for prompt in prompts:
        bundle.prompt(prompt)  # before the first one is continued, all are known to be right
    options = dict(count=asked.max_tokens, sampling=asked.sampling, stop=stop, seed=asked.seed)
    for prompt in prompts:
        for piece in bundle.generate(prompt, **options):
            print(piece, end="", flush=True)
        print()
    return 0


def chat(arguments: Sequence[str]) -> int:
    """`jaxformer chat`."""
    asked = parse(Chat, arguments, "chat")
    from jaxformer.recipes.chat import Chat as Talk
    from jaxformer.recipes.load import load_model

    system = None if asked.system is None else utf8(asked.system)
    talk = Talk(load_model(asked.model).apart(), asked.sampling, asked.seed, system)
    for said in itertools.takewhile(str.strip, turns("> ")):
        for piece in talk.answer(said, asked.max_tokens):
            print(piece, end="", flush=True)
        print()
    return 0


def embed(arguments: Sequence[str]) -> int:
    """`jaxformer embed`."""
    import json

    asked = parse(Embed, arguments, "embed")
    from jaxformer.recipes.load import load_model

    texts = list(map(utf8, asked.text)) or standard_input()
    for vector in load_model(asked.model).embed(texts) if texts else ():
        print(json.dumps([round(float(x), 7) for x in vector]))
    return 0


def fill(arguments: Sequence[str]) -> int:
    """`jaxformer fill`."""
    asked = parse(Fill, arguments, "fill")
    from jaxformer.recipes.fill import fill
    from jaxformer.recipes.load import load_model

    bundle = load_model(asked.model)
    for text in list(map(utf8, asked.text)) or standard_input():
        filled = fill(bundle, text, asked.top)
        print(filled.text)
        for guesses in filled.guesses:
            print("  " + "  ".join(f"{guess.token} {guess.probability:.4f}" for guess in guesses))
    return 0


def export(arguments: Sequence[str]) -> int:
    """`jaxformer export`."""
    asked = parse(Export, arguments, "export")
    from jaxformer.recipes.load import load_exportable

    if (asked.out / "config.json").exists():
        raise UserError(f"{asked.out} holds a model already; choose another folder")
    load_exportable(asked.model).save(asked.out)
    print(f"written    {asked.out}")
    return 0
