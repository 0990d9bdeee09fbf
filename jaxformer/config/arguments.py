"""What tyro has to say against a command line, as one line."""

import contextlib
import io
import itertools
import re
from collections.abc import Callable
from typing import TypeVar

from jaxformer.config.errors import UserError

T = TypeVar("T")


def in_one_line(parse: Callable[[], T]) -> T:
    """What `parse`, which calls tyro, returns. Raises UserError where the arguments are refused; help exits as it does.

    An option that is none is told with the nearest that is one.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parse()
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UserError(_sentence(said.getvalue())) from None
    except ValueError as error:
        # tyro tells itself what a dataclass refuses, but not where that stands inside another.
        raise UserError(str(error)) from None


def _sentence(box: str) -> str:
    """What tyro says in a box, between its title and its next rule; in ASCII a rule follows the title."""

    def is_text(row: str) -> bool:
        return row.strip("─-╰╯") != ""

    rows = [row.strip("│| ") for row in box.splitlines()[1:]]
    text = itertools.dropwhile(lambda row: not is_text(row), rows)
    near = re.search(r"Perhaps you meant:.*?(--[\w.-]+)", "\n".join(rows), re.DOTALL)
    hint = f" (perhaps {near[1]})" if near else ""
    return " ".join(itertools.takewhile(is_text, text)).rstrip(".") + hint
