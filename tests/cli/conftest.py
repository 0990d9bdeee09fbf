"""What the tests of the command line share: a trained run, and a command whose input and output are strings."""

import io
from pathlib import Path
from typing import NamedTuple

import pytest

from jaxformer.cli import run
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


@pytest.fixture
def said(capsys):
    """Runs a command that must succeed and tell nothing on standard error; returns its standard output."""

    def said(*arguments):
        code = run(arguments)
        out, err = capsys.readouterr()
        assert (code, err) == (0, ""), (code, err)
        return out

    return said


@pytest.fixture
def piped(monkeypatch):
    """Gives these bytes to the next command's standard input."""

    def piped(data):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))

    return piped
