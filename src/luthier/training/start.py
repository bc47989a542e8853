"""What a training begins with, and the law that an objective with a reference must keep there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from luthier.errors import TrainingError
from luthier.files.store import Entry
from luthier.kernels.verification import evaluation_mode
from luthier.objectives.objective import MicroBatch, R, StartsAtReference, supervised_tokens
from luthier.training.step import Training
from luthier.training.trained import adapter_folder

_RECORDS = 4
_LONG = 256
"""Tokens of answers above which more rounding is allowed."""
_TOLERANCE, _LOWER_PRECISION = 1e-5, 2e-2


@dataclass(frozen=True, slots=True)
class StartingPoint:
    """Trained weights that a training begins with.

    Attributes:
        place: The folder of their adapter, or the training that ends with them, which may not be finished yet.
        key: What tells them apart from all others.
    """

    place: Path | Entry
    key: str

    @property
    def folder(self) -> Path:
        """The folder of their adapter.

        Raises:
            StoreError: The training is damaged, or not finished.
        """
        return self.place if isinstance(self.place, Path) else adapter_folder(self.place)


def finished_training(entry: Entry) -> StartingPoint:
    """Return what a training ends with, as a starting point."""
    return StartingPoint(entry, entry.key)


def require_start_at_reference(training: Training[R]) -> None:
    """Check, before the first step, that an objective's reference is the model as it is now.

    Raises:
        TrainingError: The loss of the first records is not what it must be there, such as log 2 of DPO.
    """
    objective, stream = training.recipe.objective, training.stream
    if not (isinstance(objective, StartsAtReference) and objective.needs_reference):
        return
    records, reference = stream.records(0)[:_RECORDS], stream.references(0)[:_RECORDS]
    limit = _TOLERANCE if training.model.product_type == "float32" else _LOWER_PRECISION
    # Rounding grows with the tokens that are summed up.
    limit *= max(1.0, max(supervised_tokens(objective, [record]) for record in records) / _LONG)
    with evaluation_mode(training.model.module):
        gaps = [
            objective.gap_at_start(training.model, MicroBatch([record], [record], [own]))
            for record, own in zip(records, reference, strict=True)
        ]
    if max(gaps) > limit:
        what = f"before the first step the loss is {max(gaps):.2g} from that of a model which is its own reference"
        fix = "The stored log-probabilities are those of another start: `luthier store clean --kind references`."
        raise TrainingError(what, where=training.label, fix=fix)
