"""How a record is shown in a notebook, and where it is printed: by the tables of the report.

Records lie below the report, which draws their tables, and none of them imports it. So it is named here, and loaded
when a record is shown for the first time: whoever only computes, reads or writes records never loads it.
"""

from __future__ import annotations

import importlib
from typing import Any, ClassVar

DRAWN_BY = "luthier.report.displays"
"""The module that draws: its ``VIEWS`` has a function for each name of a view."""


class Displayed:
    """A record that a notebook shows as the tables of the report, and ``print`` as a terminal does.

    Attributes:
        view: What it is, for the module that draws it.
    """

    __slots__ = ()

    view: ClassVar[str]

    def _repr_html_(self) -> str:
        html: str = _drawing().as_html(self)
        return html

    def __str__(self) -> str:
        text: str = _drawing().as_text(self)
        return text


def _drawing() -> Any:
    return importlib.import_module(DRAWN_BY)
