"""The command line: words to calls, tables and progress to the screen; no logic."""

from hilnas.cli.app import main

__all__ = ["main"]
