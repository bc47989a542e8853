"""Validation during training: when it is measured, and the best weights so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from safetensors.torch import save_file

from luthier.files.atomic import writing
from luthier.kernels.allocator import give_back_freed_memory
from luthier.methods.base import Attached, load_weights, read_tensors, snapshot
from luthier.models.language_model import LanguageModel
from luthier.training.checkpoint import TrainingProgress
from luthier.training.log import TrainingLog


@dataclass(frozen=True, slots=True)
class Validation:
    """One measurement on the validation split.

    Attributes:
        loss: Of the objective: for cross-entropy, nats per supervised token.
        metric: Name of the number that chooses the best weights.
        value: That number.
        higher_is_better: Its direction.
        others: What was measured besides, by name: other tasks, their mean, what is retained.
        chosen_by: What chooses the best weights, higher is better, where it is not that number alone.
    """

    loss: float
    metric: str
    value: float
    higher_is_better: bool
    others: Mapping[str, float] = field(default_factory=dict)
    chosen_by: float | None = None

    @property
    def score(self) -> float:
        """What chooses the best weights, turned so that higher is better."""
        if self.chosen_by is not None:
            return self.chosen_by
        return self.value if self.higher_is_better else -self.value


Validate: TypeAlias = Callable[[], Validation]


def validation_steps(steps: int, validations: int) -> frozenset[int]:
    """Return the steps after which validation is measured, evenly spread, the last step among them."""
    return frozenset(max(1, round(steps * place / validations)) for place in range(1, validations + 1))


def validate_and_keep_best(
    model: LanguageModel,
    attached: Attached,
    validate: Validate,
    progress: TrainingProgress,
    folder: Path,
    log: TrainingLog,
) -> TrainingProgress:
    """Measure validation without dropout, log it, and store the weights if they are the best so far."""
    model.module.eval()
    give_back_freed_memory()  # what a step needs, and what answers need, is not needed together
    found = validate()
    give_back_freed_memory()
    model.module.train()
    with writing(folder):
        log.append(
            {
                "step": progress.step,
                "validation_loss": found.loss,
                "validation_metric": found.metric,
                "validation_score": found.value,
                **{f"validation/{name}": value for name, value in found.others.items()},
                **({"chosen_by": found.chosen_by} if found.chosen_by is not None else {}),
            }
        )
        progress = replace(progress, validation_loss=found.loss, validated_step=progress.step)
        if not _is_better(found.score, progress.best_score):
            return replace(progress, validations_without_gain=progress.validations_without_gain + 1)
        save_file(snapshot(attached), _best_path(folder, progress.step))
        for old in folder.glob("best-*.safetensors"):
            # The best weights that an older checkpoint names must outlive it.
            if old not in (_best_path(folder, progress.step), _best_path(folder, progress.best_step or 0)):
                old.unlink()
    return replace(progress, best_step=progress.step, best_score=found.score, validations_without_gain=0)


def load_best(attached: Attached, progress: TrainingProgress, folder: Path) -> None:
    """Put the best weights in place, where they are not those of the last step."""
    if progress.best_step is not None and progress.best_step != progress.step:
        load_weights(attached, read_tensors(_best_path(folder, progress.best_step)), where=str(folder))


def _is_better(score: float, best: float | None) -> bool:
    """Whether a score beats the best so far; one that could not be measured beats nothing, and is beaten by any."""
    return best is None or score > best or (math.isnan(best) and not math.isnan(score))


def _best_path(folder: Path, step: int) -> Path:
    return folder / f"best-{step:08d}.safetensors"
