"""A training as a value: everything that the trained weights and the stored result depend on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from luthier.config.arms import Arm
from luthier.config.base import Settings
from luthier.config.training import TrainingConfig
from luthier.errors import ConfigError, Faults, TrainingError
from luthier.files.code_digest import code_digest
from luthier.files.digests import digest
from luthier.files.store import About, Entry, open_entry
from luthier.methods.base import Method
from luthier.methods.registry import find_method, read_settings
from luthier.models.language_model import LanguageModel
from luthier.objectives.divergence import Divergence, DivergenceSettings
from luthier.objectives.easy_examples import EasyExamples
from luthier.objectives.elastic_weights import ElasticWeights, ElasticWeightsSettings
from luthier.objectives.objective import LearnsFromOwnAnswers, Objective, R
from luthier.objectives.penalty import L2StartingPoint, L2StartingPointSettings, Penalty
from luthier.objectives.registry import find_objective
from luthier.records import Example
from luthier.rewards.reward import Reward, read_reward
from luthier.tasks.rows.splits import digest_examples
from luthier.training.compute import ComputeSettings
from luthier.training.recipe import TrainingRecipe
from luthier.training.selection import Selection
from luthier.training.start import StartingPoint
from luthier.training.stream import StepStream, TrainingSet, digest_records, shuffled_stream
from luthier.training.training_task import TrainingTask

ENTRY_MODULES = ("luthier.training.train_arm",)
"""The module from which the code of a training is reached."""


@dataclass(frozen=True)
class ValidationSet(Generic[R]):
    """What the best weights are chosen by.

    Attributes:
        examples: Of the validation split, of which some are answered.
        records: The same, as the objective's records, for the loss.
        digest: Of all of it.
    """

    examples: tuple[Example, ...]
    records: tuple[R, ...]
    digest: str


def validation_set(examples: tuple[Example, ...], records: tuple[R, ...]) -> ValidationSet[R]:
    """Return a validation set with its digest."""
    return ValidationSet(examples, records, digest([digest_examples(examples), digest_records(records)]))


@dataclass(frozen=True)
class TrainingJob(Generic[R]):
    """One training: two jobs with the same key inputs end with the same bits.

    Attributes:
        name: What messages and progress bars call it; it changes nothing.
        model: Digest of the base.
        task: The task.
        method: What changes the model.
        settings: The method's settings, checked.
        recipe: The objective, its penalties, the training settings and the seed.
        stream: The records of each step.
        validation: What the best weights are chosen by.
        compute: Where it is computed.
        run: Name of the run that it is for; it changes nothing.
        start: The trained weights that it begins with, of the same method and settings; None to begin with the base
            and fresh weights.
        selection: What chooses the best weights beside the target; None where the target alone does.
        reward: What the model's own answers are worth; None where the objective does not ask.
    """

    name: str
    model: str
    task: TrainingTask
    method: Method
    settings: Settings
    recipe: TrainingRecipe[R]
    stream: StepStream[R]
    validation: ValidationSet[R]
    compute: ComputeSettings
    run: str = ""
    start: StartingPoint | None = None
    selection: Selection | None = None
    reward: Reward | None = None

    def key_inputs(self) -> dict[str, Any]:
        """Return everything that the trained weights and the stored result depend on, as JSON can hold it."""
        return {
            "model": self.model,
            "task": self.task.key_inputs(),
            "method": [self.method.name, self.settings.model_dump(mode="json")],
            **self.recipe.key_inputs(),
            "stream": self.stream.digest,
            "validation": self.validation.digest,
            "compute": self.compute.key_inputs(),
            "start": self.start.key if self.start is not None else "",
            "selection": self.selection.key_inputs() if self.selection is not None else None,
            "reward": self.reward.signature if self.reward is not None else "",
            "code": code_digest(ENTRY_MODULES),
        }

    def entry(self, out: Path) -> Entry:
        """Return the place of its result in the store below ``out``; nothing is trained or written."""
        about = About(self.task.task.name, self.name, self.run)
        return open_entry(out, "models", self.key_inputs(), about)


@dataclass(frozen=True)
class TrainingData(Generic[R]):
    """What an arm learns from, and what its best weights are chosen by.

    Attributes:
        train: What is trained on.
        validation: What the best weights are chosen by.
        elsewhere: Training examples of other tasks, on which Fisher information is measured; None where none is.
        selection: What chooses the best weights beside the target; None where the target alone does.
    """

    train: TrainingSet[R]
    validation: ValidationSet[R]
    elsewhere: TrainingSet[R] | None = None
    selection: Selection | None = None


def make_job(
    model: LanguageModel,
    arm: Arm,
    task: TrainingTask,
    data: TrainingData[R],
    *,
    seed: int,
    start: StartingPoint | None = None,
) -> TrainingJob[R]:
    """Return the training of an arm with one seed.

    Args:
        model: The base.
        arm: With a method.
        task: The target.
        data: Made by the arm's objective.
        seed: Of the method's random weights, the order of the data, and dropout.
        start: The trained weights that it begins with; see :class:`TrainingJob`.

    Raises:
        ConfigError: The method or the objective is unknown, or their settings are wrong.
    """
    assert arm.method is not None, "in-context learning trains nothing"
    method = find_method(arm.method)
    settings = read_settings(method, arm.settings, where=f"arm '{arm.name}', settings")
    objective: Objective[R] = objective_of(arm)
    config = with_rate(arm)
    return TrainingJob(
        name=arm.name,
        model=model.digest,
        task=task,
        method=method,
        settings=settings,
        recipe=TrainingRecipe(objective, config, seed, penalties_of(arm, data.elsewhere, start)),
        stream=shuffled_stream(data.train, config, seed=seed),
        validation=data.validation,
        compute=ComputeSettings.of(model),
        start=start,
        selection=data.selection,
        reward=reward_of(arm),
    )


def objective_of(arm: Arm) -> Objective[Any]:
    """Return an arm's objective with its settings: another one where its examples have weights.

    Raises:
        ConfigError: There is none of that name, or a setting is unknown or wrong.
    """
    name = EasyExamples.name if arm.weight_examples == "easy" else arm.objective
    return find_objective(name, arm.objective_settings, where=f"arm '{arm.name}', objective")


def reward_of(arm: Arm) -> Reward | None:
    """Return what the answers of an arm's model are worth; None where its objective does not ask.

    Raises:
        ConfigError: It is no reward, or the objective is wrong; of several faults, Faults.
    """
    objective = objective_of(arm)
    if not isinstance(objective, LearnsFromOwnAnswers):
        return None
    return read_reward(objective.settings.reward, where=f"arm '{arm.name}', objective.reward")


def default_rate(arm: Arm) -> float:
    """Return the peak learning rate of an arm that has a method and states none: the method's, for its objective."""
    assert arm.method is not None, "in-context learning has no rate"
    return find_method(arm.method).learning_rate * objective_of(arm).rate_factor


def penalties_of(
    arm: Arm, elsewhere: TrainingSet[Any] | None, start: StartingPoint | None = None
) -> tuple[Penalty, ...]:
    """Return what holds an arm near to the base.

    Args:
        arm: Says what, and how firmly.
        elsewhere: Training examples of the retained tasks, where the arm asks for their Fisher information.
        start: The training whose weights the arm begins with; their Fisher information is not that of the base.
    """
    anchor, found = arm.anchor, list[Penalty]()
    if anchor.kl:
        found.append(Divergence(DivergenceSettings(weight=anchor.kl, on=anchor.on)))
    if anchor.l2:
        found.append(L2StartingPoint(L2StartingPointSettings(weight=anchor.l2)))
    if anchor.ewc:
        assert elsewhere is not None, "the plan reads them for such an arm"
        settings = ElasticWeightsSettings(weight=anchor.ewc, fisher=anchor.fisher)
        of = elsewhere.digest if start is None else digest([elsewhere.digest, start.key])
        found.append(ElasticWeights(settings, elsewhere.records, of))
    return tuple(found)


def with_rate(arm: Arm) -> TrainingConfig:
    """Return the training settings of an arm that has a method, with its learning rate put in."""
    return arm.training.model_copy(update={"learning_rate": arm.training.learning_rate or default_rate(arm)})


@contextlib.contextmanager
def faults_naming_arm(name: str) -> Iterator[None]:
    """Put the name of an arm before the place of a fault that is raised inside."""
    try:
        yield
    except (ConfigError, TrainingError) as fault:
        raise type(fault)(fault.what, where=f"arm '{name}', {fault.where}", fix=fault.fix) from None
    except Faults as several:
        raise Faults(f"arm '{name}': {several.what}", several.faults) from None
