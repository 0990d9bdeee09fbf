"""What is wrong with a command line is one line, with the option that was meant."""

from dataclasses import dataclass

import pytest
import tyro

from jaxformer.config.arguments import in_one_line
from jaxformer.config.errors import UserError


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5

    def __post_init__(self):
        if self.rate > 1:
            raise ValueError(f"rate must be at most 1, got {self.rate}")


@dataclass(frozen=True)
class Options:
    inner: Inner = Inner()
    count: int = 3

    def __post_init__(self):
        if self.count < 0:
            raise ValueError(f"count must not be negative, got {self.count}")


def parsed(*arguments):
    return in_one_line(lambda: tyro.cli(Options, args=arguments))


def test_what_can_be_used_comes_through():
    assert parsed("--count", "5", "--inner.rate", "0.25") == Options(Inner(0.25), 5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--cuont", "5"], "Unrecognized options: --cuont, 5 (perhaps --count)"),
        (["--inner.rat", "1"], "Unrecognized options: --inner.rat, 1 (perhaps --inner.rate)"),
        (["5"], "Unrecognized options: 5"),
        (["--count", "few"], "Error parsing --count: invalid literal for int() with base 10: 'few'"),
        (["--count", "-5"], "Error parsing Options: count must not be negative, got -5"),
        (["--inner.rate", "2"], "Error parsing inner: rate must be at most 1, got 2.0"),
    ],
)
def test_what_cannot_is_told_in_one_line(arguments, message, capsys):
    with pytest.raises(UserError) as refused:
        parsed(*arguments)
    assert str(refused.value) == message
    assert capsys.readouterr() == ("", "")


def test_help_is_no_error(capsys):
    with pytest.raises(SystemExit) as stop:
        parsed("--help")
    assert stop.value.code == 0 and "--inner.rate" in capsys.readouterr().out
