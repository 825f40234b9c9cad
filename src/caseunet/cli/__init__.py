"""The command line: a file per verb; each takes options, makes one call, and says what a person reads."""

from caseunet.cli.entry import app, main

__all__ = ["app", "main"]
