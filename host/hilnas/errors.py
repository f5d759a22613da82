"""The base of every error that a person can mend."""

from typing import ClassVar


class HilnasError(Exception):
    """The message names what is wrong and what to do; the command line prints it without a traceback."""

    exit_code: ClassVar[int] = 1
    """What the command ends with: 2 for what was asked wrongly, 1 for what went wrong."""
