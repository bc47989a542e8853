"""The objectives and penalties, by name. Adding one is one module and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.config.validation import validate
from luthier.errors import ConfigError, did_you_mean
from luthier.objectives.apo import APODown, APOZero
from luthier.objectives.cross_entropy import CrossEntropy
from luthier.objectives.divergence import Divergence
from luthier.objectives.dpo import DPO, Hinge, NormalisedDPO, RobustDPO
from luthier.objectives.easy_examples import EasyExamples
from luthier.objectives.elastic_weights import ElasticWeights
from luthier.objectives.grpo import GRPO
from luthier.objectives.ipo import IPO
from luthier.objectives.kto import KTO
from luthier.objectives.objective import Objective
from luthier.objectives.orpo import ORPO
from luthier.objectives.penalty import L2StartingPoint, Penalty
from luthier.objectives.rloo import RLOO
from luthier.objectives.simpo import SimPO

OBJECTIVES: Mapping[str, type[Any]] = {
    objective.name: objective
    for objective in (
        *(CrossEntropy, EasyExamples),
        *(DPO, RobustDPO, NormalisedDPO, Hinge, IPO, APOZero, APODown, SimPO, ORPO, KTO),
        *(GRPO, RLOO),
    )
}
"""Classes that fulfil :class:`~luthier.objectives.objective.Objective` and are made with their settings."""
PENALTIES: Mapping[str, type[Any]] = {
    penalty.name: penalty for penalty in (L2StartingPoint, Divergence, ElasticWeights)
}
"""Classes that fulfil :class:`~luthier.objectives.penalty.Penalty` and are made with their settings."""


def find_objective(name: str, settings: Mapping[str, Any], *, where: str) -> Objective[Any]:
    """Return an objective with its settings.

    Raises:
        ConfigError: When there is none of that name, or a setting is unknown or wrong.
    """
    if name not in OBJECTIVES:
        raise ConfigError(f"unknown objective '{name}'", where=where, fix=did_you_mean(name, OBJECTIVES))
    kind = OBJECTIVES[name]
    made: Objective[Any] = kind(validate(kind.settings_class, settings, source=where))
    return made


def find_penalty(name: str, settings: Mapping[str, Any], *, where: str) -> Penalty:
    """Return a penalty with its settings.

    Raises:
        ConfigError: When there is none of that name, or a setting is unknown or wrong.
    """
    if name not in PENALTIES:
        raise ConfigError(f"unknown penalty '{name}'", where=where, fix=did_you_mean(name, PENALTIES))
    kind = PENALTIES[name]
    made: Penalty = kind(validate(kind.settings_class, settings, source=where))
    return made
