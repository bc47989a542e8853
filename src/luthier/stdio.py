"""Lines on standard output and standard error: a terminal obeys no character that is from data, names or messages.

Without rich, so that help and errors of usage are instant; tables and bars are shown on :mod:`luthier.console`.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import warnings
from typing import TextIO

import click

from luthier.visible import on_terminal


def echo(text: str) -> None:
    """Write a line to standard output, at once and in its own encoding: click would take ASCII for a mistake."""
    sys.stdout.write(on_terminal(text) + "\n")
    sys.stdout.flush()


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


def deliver(content: bytes) -> None:
    """Write a file to standard output: exactly its bytes, or its text where they would be obeyed, on a terminal."""
    if sys.stdout.isatty():
        sys.stdout.write(on_terminal(content.decode("utf-8", "backslashreplace")))
    elif hasattr(sys.stdout, "buffer"):
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:  # a notebook
        sys.stdout.write(content.decode())


def deliver_json(value: object) -> None:
    """Write JSON to standard output: in its own characters, or in ASCII where the output cannot take them all."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2)
    # What a terminal would obey stands inside of JSON's texts, where its escape is the same text.
    sys.stdout.write((on_terminal(text) if sys.stdout.isatty() else text) + "\n")


def prepare_streams() -> None:
    """Make the standard streams of this process take every character, and what libraries say on them plain.

    Characters that the encoding of a stream lacks are written as their escapes, instead of failing. Warnings and log
    messages of libraries quote what they were given, and so are written as our own lines are.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = _show_warning
    logging.setLogRecordFactory(_PlainRecord)


class _PlainRecord(logging.LogRecord):
    """What a library logs."""

    def getMessage(self) -> str:  # noqa: N802, as logging has it
        return on_terminal(super().getMessage())


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    text = warnings.formatwarning(message, category, filename, lineno, line).rstrip("\n")
    if file is None:
        complain(text)
    else:
        file.write(on_terminal(text) + "\n")
