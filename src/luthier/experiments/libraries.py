"""Libraries that some arms import when they first need them, and others never."""

from __future__ import annotations

import functools
import importlib
import importlib.util

_LAZY = ("torch._dynamo", "peft", "rapidfuzz", "sacrebleu", "pyarrow.compute", "pandas")
"""By optimizers, by the methods that PEFT has, and by metrics that choose the best weights (pyarrow imports pandas)."""


@functools.cache
def import_lazy_libraries() -> None:
    """Import them all, before the memory of the first arm is measured.

    They take more than 100 MB of a process. Imported at their first use, they would count for the arms that come after
    it and not for those before, so an arm's memory would depend on the order of the arms.
    """
    for name in _LAZY:
        if importlib.util.find_spec(name.partition(".")[0]):
            importlib.import_module(name)
