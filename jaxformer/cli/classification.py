"""Commands for runs that classify."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from jaxformer.cli.options import Option, Positional, parse, standard_input, utf8
from jaxformer.config.errors import UserError


@dataclass(frozen=True)
class Classify:
    """Tell the class of each argument, or of each line of standard input, and its probability, a line each."""

    run: Positional[Path]
    """A run of train classify."""
    text: Positional[tuple[str, ...]] = ()
    """Texts; where the run was trained on pairs, two sentences with a tab between them."""
    as_json: Annotated[bool, Option(name="json")] = False
    """Print JSON, with the probabilities of all classes."""


def classify(arguments: Sequence[str]) -> int:
    """`jaxformer classify`."""
    asked = parse(Classify, arguments, "classify")
    from jaxformer.recipes.load import load_classifier

    trained = load_classifier(asked.run)
    lines = list(map(utf8, asked.text)) or standard_input()
    if not lines:
        return 0
    classes, labeller = trained.labels.classes, trained.labeller
    texts = [_sentences(line, trained.labels.sentences) for line in lines]
    if cut := labeller.cut(texts):
        longest = trained.config.batches.max_length
        print(f"note       cut {cut} of {len(texts)} texts longer than {longest} tokens", file=sys.stderr)
    for p_C in labeller(trained.params, texts):
        best = int(p_C.argmax())
        if asked.as_json:
            print(json.dumps({"class": classes[best], "probabilities": dict(zip(classes, p_C.tolist(), strict=True))}))
        else:
            print(f"{classes[best]}\t{p_C[best]:.4f}")
    return 0


def _sentences(line: str, count: int) -> tuple[str, ...]:
    """The sentences of a text; UserError where they are more or fewer."""
    if count == 1:
        return (line,)
    sentences = tuple(line.split("\t"))
    if len(sentences) != count:
        raise UserError(f"a text must be {count} sentences with a tab between them, got {line!r}")
    return sentences
