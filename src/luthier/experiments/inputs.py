"""What a comparison's configuration names, read: each thing by itself, so that all faults show at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.config.arms import Arm, make_arms
from luthier.config.compare import CompareConfig
from luthier.config.data import DataConfig
from luthier.errors import ConfigError, LuthierError, collecting, raise_faults
from luthier.models.language_model import LanguageModel
from luthier.models.load import load_model
from luthier.tasks.held_out_text import load_texts
from luthier.tasks.loader import load_task, with_data_settings
from luthier.tasks.schema import Task
from luthier.tasks.task_sets import EVERYDAY, expand


@dataclass(frozen=True)
class RetainedTask:
    """A task on which forgetting is measured.

    Attributes:
        task: The task.
        by_name: Whether it was asked for by name; a member of a set that the model cannot hold is left out.
    """

    task: Task
    by_name: bool


@dataclass(frozen=True)
class Inputs:
    """What a comparison's configuration names.

    Attributes:
        task: The target.
        arms: What is compared.
        retained: Tasks on which forgetting is measured.
        texts: Held-out plain text.
        model: The base.
    """

    task: Task
    arms: tuple[Arm, ...]
    retained: tuple[RetainedTask, ...]
    texts: tuple[str, ...]
    model: LanguageModel


def read_inputs(config: CompareConfig) -> Inputs:
    """Read everything that a configuration names.

    Raises:
        LuthierError: All faults that can be found at once.
    """
    faults: list[LuthierError] = []
    task: Task | None = None
    arms: list[Arm] = []
    with collecting(faults):
        retained = _retained_tasks(config.retain, target=config.task, data=config.data)
    with collecting(faults):
        texts = load_texts(config.retention_text) if config.retention_text else []
    with collecting(faults):
        task = with_data_settings(load_task(config.task, config.data.folder), config.data)
    with collecting(faults):
        model = load_model(
            config.model,
            device=config.device,
            precision=config.precision,
            kernels=config.kernels,
            trust_remote_code=config.trust_remote_code,
        )
    with collecting(faults):
        shots = task.few_shot if task else 0
        arms = make_arms(config.arms, training=config.training, few_shots=shots, seeds=config.training_seeds)
    raise_faults("the comparison cannot start", faults)
    assert task is not None
    return Inputs(task, tuple(arms), retained, tuple(texts), model)


def _retained_tasks(names: Sequence[str] | None, *, target: str, data: DataConfig) -> tuple[RetainedTask, ...]:
    faults: list[LuthierError] = []
    found: list[RetainedTask] = []
    for named in expand((EVERYDAY,) if names is None else names, data.folder):
        if named.by_name or named.name != target:
            with collecting(faults):
                found.append(RetainedTask(with_data_settings(load_task(named.name, data.folder), data), named.by_name))
    faults += repeated_names([item.task for item in found], "retain")
    raise_faults("the retained tasks have faults", faults)
    return tuple(found)


def repeated_names(tasks: Sequence[Task], where: str) -> list[LuthierError]:
    """Return a fault for each name that several tasks have: their scores could not be told apart."""
    counts = Counter(task.name for task in tasks)
    return [
        ConfigError(f"{count} tasks are called '{name}'", where=where, fix="Leave one out, or rename it in its YAML.")
        for name, count in counts.items()
        if count > 1
    ]
