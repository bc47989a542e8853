"""A finished training, as it lies in the store."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from luthier.files.store import Entry, reading
from luthier.training.log import validation_scores


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a training ended with: the same for the same job.

    Attributes:
        steps: Optimizer steps taken.
        best_step: Step of the weights that are kept, or None where validation was not measured.
        best_score: The target's validation score of them, turned so that higher is better, or None.
        chosen_by: What they were chosen by, higher is better: that score, unless other tasks take part; or None.
        higher_is_better: Direction of the validation metric itself.
        trainable_parameters: Number of trained weights.
        stored_bytes: Of the adapter's folder.
        learning_rate: The peak.
        micro_tokens: Tokens of a forward pass at most: those that were given or chosen, or fewer where memory was
            short.
        examples: Examples read, each as often as it was read.
        supervised_tokens: Target tokens of these.
    """

    steps: int
    best_step: int | None
    best_score: float | None
    chosen_by: float | None
    higher_is_better: bool
    trainable_parameters: int
    stored_bytes: int
    learning_rate: float
    micro_tokens: int
    examples: int
    supervised_tokens: int


@dataclass(frozen=True, slots=True)
class TrainingCosts:
    """What a training took.

    Attributes:
        training_seconds: Wall seconds of the optimizer steps, over all processes.
        supervised_tokens_per_second: Target tokens; None where no step was timed.
        peak_memory_bytes: Of this training alone, over all processes; None where it could not be measured.
        threads: Threads of torch.
    """

    training_seconds: float
    supervised_tokens_per_second: float | None
    peak_memory_bytes: int | None
    threads: int


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training.

    Attributes:
        entry: Its place in the store.
        result: What it ended with.
        costs: What it took.
    """

    entry: Entry
    result: TrainingResult
    costs: TrainingCosts

    @property
    def adapter(self) -> Path:
        """Folder of the adapter, or of the whole model; see :func:`adapter_folder`."""
        return adapter_folder(self.entry)

    @property
    def log(self) -> Path:
        """The training log."""
        return self.entry.folder / "log.jsonl"

    @property
    def validation_scores(self) -> tuple[float, ...]:
        """What the best weights were chosen by at every validation, first to last, higher is better."""
        return validation_scores(self.log, higher_is_better=self.result.higher_is_better)


_RESULT = TypeAdapter(TrainingResult)
_COSTS = TypeAdapter(TrainingCosts)


def adapter_folder(entry: Entry) -> Path:
    """Return where the adapter, or the whole model, of a finished training lies.

    Raises:
        StoreError: When it is not what was written.
    """
    return entry.checked("adapter")


def write_trained(folder: Path, result: TrainingResult, costs: TrainingCosts) -> None:
    """Write ``result.json`` and ``costs.json``."""
    # By ``json``, which writes NaN as it is: a score that could not be measured is not one that was never asked for.
    (folder / "result.json").write_text(json.dumps(_RESULT.dump_python(result), indent=2, sort_keys=True))
    (folder / "costs.json").write_text(json.dumps(_COSTS.dump_python(costs), indent=2, sort_keys=True))


def read_trained(entry: Entry) -> Trained:
    """Read a finished training.

    Raises:
        StoreError: When it is damaged, or not there.
    """
    with reading(entry):
        result = _RESULT.validate_json(entry.checked("result.json").read_bytes())
        costs = _COSTS.validate_json(entry.checked("costs.json").read_bytes())
        entry.checked("log.jsonl")
        return Trained(entry, result, costs)
