"""Files that others wrote, read by other libraries: whatever goes wrong in there is one error that names the file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from luthier.errors import LuthierError, ModelError, first_line

# Their messages say nothing without the class: a KeyError's is a bare word.
_BARE = (LookupError, AttributeError, TypeError, RecursionError, AssertionError, ArithmeticError)
_LONGEST = 300


@contextlib.contextmanager
def foreign(what: str, *, where: str, fix: str) -> Iterator[None]:
    """Turn whatever a library raises over a file of a model into one error.

    What such a library checks of a configuration it reads, and with which class it fails, differs from key to key and
    from version to version.

    Args:
        what: What cannot be done, as the beginning of a sentence.
        where: The file or folder.
        fix: What the user can do.

    Raises:
        ModelError: With the library's own reason.
    """
    try:
        yield
    except LuthierError:
        raise
    except Exception as fault:
        raise ModelError(f"{what}: {reason(fault)}", where=where, fix=fix) from None


def reason(fault: BaseException) -> str:
    """Return the first line of an exception's message, with its class where that is needed to understand it."""
    line = first_line(fault)
    line = line if len(line) <= _LONGEST else line[:_LONGEST] + "…"
    return f"{type(fault).__name__}: {line}" if isinstance(fault, _BARE) and line != type(fault).__name__ else line
