"""The console on which everything is shown: a terminal obeys no character that is from data, names or messages."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from luthier.visible import on_terminal


class PlainConsole(Console):
    """A console that shows text as it is: without markup and emoji codes, and with control characters written out.

    Styles are added after the text was made visible, so that colours stay.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as rich does, each text with its control characters written out."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=on_terminal(segment.text))


def open_console(*, stderr: bool = False) -> PlainConsole:
    """Return a console on standard output, or on standard error."""
    return PlainConsole(stderr=stderr, markup=False, emoji=False)


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
