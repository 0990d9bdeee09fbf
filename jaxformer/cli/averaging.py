"""The command that makes one run of several."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from jaxformer.cli.options import Positional, parse
from jaxformer.cli.training import training_of


@dataclass(frozen=True)
class Average:
    """Make a run whose weights are the mean of those of several runs, and score it.

    They must have begun with the same weights, such as a pretrained model's, and may differ in seed, steps, rates and
    regularisation: a soup (Wortsman et al. 2022). It costs no more to use than one of them.
    """

    runs: Positional[tuple[Path, ...]]
    """Run folders of the same job, two or more; of each, the best checkpoint."""
    out: Path
    """The folder to be made."""


def average(arguments: Sequence[str]) -> int:
    """`jaxformer average`."""
    asked = parse(Average, arguments, "average")
    from jaxformer.recipes.average import average
    from jaxformer.training.run import RunFolder

    average(asked.runs, asked.out)
    import_module(training_of(RunFolder(asked.out).kind()).recipe).finish(asked.out)
    return 0
