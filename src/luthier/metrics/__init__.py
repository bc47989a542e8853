"""Predictions in, scores with intervals out. Knows only `records`.

    from luthier.metrics import rouge, bleu

For users, the functions of the overlap metrics stand here too, imported when they are first asked for; inside Luthier
every module imports them from where they are defined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luthier.metrics.overlap.bleu import bleu, sentence_bleu
    from luthier.metrics.overlap.chrf import chrf
    from luthier.metrics.overlap.rouge import rouge

__all__ = ["bleu", "chrf", "rouge", "sentence_bleu"]


if not TYPE_CHECKING:  # hidden, so that a type checker finds a name that does not exist

    def __getattr__(name: str) -> object:
        """Import a function from the module that defines it."""
        if name not in __all__:
            raise AttributeError(f"module 'luthier.metrics' has no attribute '{name}'")
        from luthier.metrics.overlap.bleu import bleu, sentence_bleu
        from luthier.metrics.overlap.chrf import chrf
        from luthier.metrics.overlap.rouge import rouge

        globals().update(bleu=bleu, chrf=chrf, rouge=rouge, sentence_bleu=sentence_bleu)
        return globals()[name]
