"""Predictions in, scores with intervals out. Knows only `records`.

    from luthier.metrics import rouge, bleu

For users, the functions of the overlap metrics stand here too, imported when they are first asked for; inside Luthier
every module imports them from where they are defined.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luthier.metrics.overlap.bleu import bleu, sentence_bleu
    from luthier.metrics.overlap.chrf import chrf
    from luthier.metrics.overlap.rouge import rouge

__all__ = ["bleu", "chrf", "rouge", "sentence_bleu"]

_HOME_OF = {"bleu": "bleu", "chrf": "chrf", "rouge": "rouge", "sentence_bleu": "bleu"}


if not TYPE_CHECKING:  # hidden, so that a type checker finds a name that does not exist

    def __getattr__(name: str) -> object:
        """Import a function from the module that defines it."""
        if name not in _HOME_OF:
            raise AttributeError(f"module 'luthier.metrics' has no attribute '{name}'")
        value = getattr(importlib.import_module(f"luthier.metrics.overlap.{_HOME_OF[name]}"), name)
        globals()[name] = value
        return value
