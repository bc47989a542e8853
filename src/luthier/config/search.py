"""Settings: how hyper-parameters are chosen."""

from __future__ import annotations

from pydantic import Field

from luthier.config.base import Settings


class SearchConfig(Settings):
    """How hyper-parameters are chosen, on the validation split."""

    trials: int = Field(default=0, ge=0)
    """Trials of each trained arm, its defaults first; 0 trains with the defaults alone."""
    prune: bool = True
    """Stop a trial that is worse than half of the earlier ones were after as many validations."""
