"""One trained run for all tests of the command line."""

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli.toy import process, training, write_corpus


class Run(NamedTuple):
    """A corpus, the run that was trained on it without a break, and what that printed."""

    data: Path
    out: Path
    printed: str


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("toy")
    data = write_corpus(folder / "corpus")
    result = process(*training(data, folder / "run"))
    assert result.returncode == 0, result.stderr
    return Run(data, folder / "run", result.stdout)
