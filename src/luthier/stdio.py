"""Lines on standard output and standard error: a terminal obeys no character that is from data, names or messages.

Without rich, so that help and errors of usage are instant; tables and bars are shown on :mod:`luthier.console`.
"""

from __future__ import annotations

import io
import sys

import click

from luthier.visible import on_terminal


def echo(text: str) -> None:
    """Write a line to standard output."""
    click.echo(on_terminal(text))


def complain(text: str) -> None:
    """Write a line to standard error, at once."""
    sys.stderr.write(on_terminal(text) + "\n")
    sys.stderr.flush()


def complain_of_usage(wrong: click.ClickException) -> None:
    """Write what is wrong with a command line to standard error, as click does."""
    if isinstance(wrong, click.exceptions.NoArgsIsHelpError):
        wrong.show()
        return
    context = wrong.ctx if isinstance(wrong, click.UsageError) else None
    if context is not None:
        complain(f"{context.get_usage()}\nTry '{context.command_path} --help' for help.\n")
    complain(f"Error: {wrong.format_message()}")


def accept_every_character() -> None:
    """Write characters that the encoding of a standard stream lacks as their escapes, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
