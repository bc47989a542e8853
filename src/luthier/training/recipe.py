"""How weights are trained, apart from the data and from the method that says which weights move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic

from luthier.config.training import TrainingConfig
from luthier.objectives.objective import Objective, R
from luthier.objectives.penalty import Penalty

_CHANGES_NO_BIT = {"checkpoint_seconds", "trackers"}
"""Training settings that change neither the weights nor the choice of the best of them."""


@dataclass(frozen=True, slots=True)
class TrainingRecipe(Generic[R]):
    """How weights are trained.

    Attributes:
        objective: What is minimised.
        config: The training settings; its learning rate is given.
        seed: Of dropout.
        penalties: Terms that are added to the objective.
    """

    objective: Objective[R]
    config: TrainingConfig
    seed: int
    penalties: tuple[Penalty, ...] = ()

    @property
    def peak_learning_rate(self) -> float:
        """The greatest learning rate."""
        assert self.config.learning_rate is not None, "the method's default is put in before"
        return self.config.learning_rate

    def key_inputs(self) -> dict[str, Any]:
        """Return everything of it that the trained weights depend on, as JSON can hold it."""
        return {
            "objective": [self.objective.name, self.objective.settings.model_dump(mode="json")],
            "penalties": [penalty.key_inputs() for penalty in self.penalties],
            "training": self.config.model_dump(mode="json", exclude=_CHANGES_NO_BIT),
            "seed": self.seed,
        }
