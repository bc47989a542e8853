"""What chooses the best weights of an arm at its validations, where that is not the target's metric alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from luthier.config.advice import how_to_set
from luthier.config.arms import Arm
from luthier.errors import ConfigError, DataError, LuthierError, raise_faults
from luthier.evaluation.prepared_task import PreparedTask, make_encoder
from luthier.experiments.replay import ReplaySources
from luthier.tasks.loader import load_examples, load_task, with_data_settings
from luthier.tasks.mixture_spec import read_mixture
from luthier.training.selection import DEFAULT_RETAINED, OtherTask, Selection, require_scale
from luthier.training.training_task import training_task

SelectionKey = tuple[str, str]
"""By what is chosen, and the file of the mixture whose tasks are looked at; "" for the retained tasks."""


def selection_key(arm: Arm) -> SelectionKey | None:
    """Return how an arm's best weights are chosen; None where the target alone does."""
    if arm.method is None or arm.training.select == "target":
        return None
    return arm.training.select, arm.mixture if arm.training.select == "mean" else ""


def selects_on_retained(arms: Iterable[Arm]) -> bool:
    """Whether the retained tasks' validation splits are needed for the choice of some arm's weights."""
    return any(key is not None and not key[1] for key in map(selection_key, arms))


def read_selections(
    arms: Sequence[Arm], sources: ReplaySources, retained: Sequence[PreparedTask]
) -> dict[SelectionKey, Selection]:
    """Prepare what chooses the best weights of the arms.

    Args:
        arms: What is compared.
        sources: The target, the model and the configuration.
        retained: The retained tasks, with their validation splits; empty where no arm looks at them.

    Raises:
        ConfigError: Nothing is retained, or a task has no share in a mean.
        LuthierError: All faults of a mixture's tasks.
    """
    found: dict[SelectionKey, Selection] = {}
    for arm in arms:
        key = selection_key(arm)
        if key is None or key in found:
            continue
        where = f"arm '{arm.name}', training.select"
        if not arm.training.validations:
            fix = f"{how_to_set('training.validations', '4')}, or take `select: target`."
            raise ConfigError("weights are chosen at validations, and there is none", where=where, fix=fix)
        others = _of_mixture(key[1], sources) if key[1] else retained
        if not others:
            fix = f"Name tasks with {how_to_set('retain', '[topic]')}, or take `select: target`."
            raise ConfigError("there is no other task to choose by", where=where, fix=fix)
        if key[0] == "mean":
            for own in (sources.target, *others):
                require_scale(own.metrics)
        found[key] = _selection(key[0], others, sources)
    return found


def _selection(by: str, others: Sequence[PreparedTask], sources: ReplaySources) -> Selection:
    config = sources.config
    tokens = config.evaluation.batch_tokens
    tasks = tuple(
        OtherTask(
            training_task(own.task, own.encoder, config.decoding, batch_tokens=tokens, encoding=config.data),
            own.examples,
        )
        for own in others
    )
    level = DEFAULT_RETAINED if config.retain_at_least is None else config.retain_at_least
    return Selection("mean" if by == "mean" else "retained", tasks, level)


def _of_mixture(file: str, sources: ReplaySources) -> list[PreparedTask]:
    """Return the tasks of a mixture beside the target, with their validation splits."""
    config, spec = sources.config, read_mixture(file)
    faults: list[LuthierError] = []
    found = []
    for source in spec.tasks:
        if source.task is None:
            continue
        task = with_data_settings(load_task(source.task, config.data.folder), config.data)
        if task.name == sources.target.task.name:
            continue
        limit = max(config.training.validation_examples, config.evaluation.retain_examples or 0)
        try:
            examples = load_examples(task, "validation", limit=limit, seed=config.seed, evaluation=True)
        except DataError as fault:
            what = f"no validation split to choose on ({fault.what})"
            fix = "Give it one, or choose by the target: `select: target`."
            faults.append(DataError(what, where=f"mixture '{spec.name}', task '{task.name}'", fix=fix))
            continue
        found.append(PreparedTask(task, make_encoder(sources.model, task, config.data), tuple(examples)))
    raise_faults(f"the mixture '{spec.name}' cannot choose by the mean of its tasks", faults)
    return found
