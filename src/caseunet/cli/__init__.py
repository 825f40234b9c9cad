"""The command line: a file per verb; each takes options, makes one call, and says what a person reads."""

from caseunet.cli.entry import create_app, main

__all__ = ["create_app", "main"]
