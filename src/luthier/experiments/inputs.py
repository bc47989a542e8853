"""What a comparison's configuration names, read: each thing by itself, so that all faults show at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from luthier.config.arms import Arm, make_arms
from luthier.config.compare import CompareConfig
from luthier.config.data import DataConfig
from luthier.errors import LuthierError, collecting, raise_faults
from luthier.experiments.asked_tasks import AskedTask, load_asked
from luthier.experiments.harness import apart, load_harness
from luthier.models.language_model import LanguageModel
from luthier.models.load import load_model
from luthier.tasks.held_out_text import load_texts
from luthier.tasks.loader import load_task, with_data_settings
from luthier.tasks.mixture_spec import MixtureSpec, is_mixture, read_mixture
from luthier.tasks.schema import Task
from luthier.tasks.task_sets import EVERYDAY, NamedTask, expand

if TYPE_CHECKING:
    from luthier.evaluation.harness.loading import Loaded


@dataclass(frozen=True)
class Inputs:
    """What a comparison's configuration names.

    Attributes:
        task: The target; of a mixture the task that it is chosen and measured by.
        arms: What is compared.
        retained: Tasks on which forgetting is measured.
        harness: Tasks of lm-eval on which it is measured too; None without any.
        texts: Held-out plain text.
        model: The base.
    """

    task: Task
    arms: tuple[Arm, ...]
    retained: tuple[AskedTask, ...]
    harness: Loaded | None
    texts: tuple[str, ...]
    model: LanguageModel


def read_inputs(config: CompareConfig, model: LanguageModel | None = None) -> Inputs:
    """Read everything that a configuration names.

    Args:
        config: The configuration.
        model: The base, where it has been read.

    Raises:
        LuthierError: All faults that can be found at once.
    """
    faults: list[LuthierError] = []
    task: Task | None = None
    mixture: MixtureSpec | None = None
    arms: list[Arm] = []
    named = config.task
    with collecting(faults):
        mixture = read_mixture(config.task) if is_mixture(config.task) else None
        named = mixture.target_name if mixture else config.task
    ours, theirs = apart(expand((EVERYDAY,) if config.retain is None else config.retain, config.data.folder))
    with collecting(faults):
        retained = _retained_tasks(ours, target=named, data=config.data)
    harness = load_harness(theirs, config.data, faults)
    with collecting(faults):
        texts = load_texts(config.retention_text) if config.retention_text else []
    with collecting(faults):
        task = with_data_settings(load_task(named, config.data.folder), config.data)
    with collecting(faults):
        model = model or load_model(
            config.model,
            device=config.device,
            precision=config.precision,
            kernels=config.kernels,
            trust_remote_code=config.trust_remote_code,
        )
    with collecting(faults):
        shots = task.few_shot if task else 0
        arms = make_arms(
            config.arms,
            training=config.training,
            few_shots=shots,
            seeds=config.training_seeds,
            mixture=config.task if mixture else "",
        )
    raise_faults("the comparison cannot start", faults)
    assert task is not None
    return Inputs(task, tuple(arms), retained, harness, tuple(texts), model)


def _retained_tasks(names: Sequence[NamedTask], *, target: str, data: DataConfig) -> tuple[AskedTask, ...]:
    faults: list[LuthierError] = []
    others = [named for named in names if named.by_name or named.name != target]
    found = load_asked(others, data, faults, where="retain")
    raise_faults("the retained tasks have faults", faults)
    return tuple(found)
