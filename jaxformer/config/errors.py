"""The one exception whose message is meant for the person at the terminal."""


class UserError(Exception):
    """Input that a person can mend.

    The message is a single line: what is wrong, the value seen, what is allowed, and how to mend it. The command line
    prints it without a traceback and leaves with exit code 2 (wrong usage or input); everything else is exit code 1.
    """


FAILED, USAGE, INTERRUPTED = 1, 2, 130
"""Exit codes of the command line: the run failed, the input cannot be used, Ctrl-C or SIGTERM."""
