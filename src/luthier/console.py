"""The console on which tables and bars are shown: a terminal obeys no character that is from data or messages."""

from __future__ import annotations

import io
from collections.abc import Iterable

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


def printed(parts: Iterable[RenderableType], *, width: int) -> str:
    """Return what a console of so many columns shows of some parts, without colours."""
    out = io.StringIO()
    console = PlainConsole(file=out, width=width, markup=False, emoji=False, color_system=None, force_jupyter=False)
    for part in parts:
        console.print(part)
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().split("\n"))


def open_console(*, stderr: bool = False) -> PlainConsole:
    """Return a console on standard output, or on standard error."""
    return PlainConsole(stderr=stderr, markup=False, emoji=False)
