"""The validation splits on which an arm, and a point between it and the base, are chosen: no test example chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from luthier.config.arms import Arm
from luthier.config.compare import CompareConfig
from luthier.errors import ConfigError, DataError, LuthierError, raise_faults
from luthier.evaluation.measured import NativeTask
from luthier.evaluation.prepared_task import PreparedTask
from luthier.experiments.selections import selects_on_retained
from luthier.records import Example
from luthier.tasks.loader import load_examples

_FLAG, _SELECT = "--retain-at-least", "training.select"


@dataclass(frozen=True)
class ValidationSets:
    """What an arm and a point are chosen on.

    Attributes:
        target: The target task, with its validation split.
        retained: The retained tasks, with theirs.
    """

    target: PreparedTask
    retained: tuple[NativeTask, ...]


def read_retained(
    retained: Sequence[PreparedTask], harness: Sequence[str], arms: Sequence[Arm], config: CompareConfig
) -> tuple[NativeTask, ...]:
    """Read the validation splits of the retained tasks; none is read where nothing is chosen by them.

    Args:
        retained: The tasks, with their test splits.
        harness: Names of the tasks of lm-eval among the retained ones.
        arms: What is chosen from.
        config: What the user asked for.

    Raises:
        LuthierError: All faults: nothing is trained or retained, or a task has no validation split.
    """
    chooses = config.retain_at_least is not None
    if not chooses and not selects_on_retained(arms):
        return ()
    faults: list[LuthierError] = []
    asked = _FLAG if chooses else _SELECT
    if chooses and not any(arm.method for arm in arms):
        fix = f"Add an arm that trains, such as lora, or leave {_FLAG} out."
        faults.append(ConfigError("no arm is trained, so none forgets", where="retain_at_least", fix=fix))
    if chooses and not retained and not harness:
        fix = "The lines above say what each retained task lacks."
        faults.append(DataError("no retained task is left to be measured", where="retain_at_least", fix=fix))
    for name in harness:
        faults.append(_lacking(f"lm_eval:{name}", "a task of lm-eval is read as its test alone", asked))
    found = []
    for own in retained:
        try:
            examples = load_examples(
                own.task, "validation", limit=config.evaluation.retain_examples, seed=config.seed, evaluation=True
            )
            found.append(NativeTask(replace(own, examples=tuple(examples))))
        except DataError as fault:
            faults.append(_lacking(own.task.name, fault.what, asked))
    raise_faults(f"{asked} cannot be used", faults)
    return tuple(found)


def validation_sets(
    target: PreparedTask, examples: Sequence[Example], retained: tuple[NativeTask, ...]
) -> ValidationSets | None:
    """Return what is chosen on; None where nothing is.

    Args:
        target: The target task.
        examples: Its validation split.
        retained: From :func:`read_retained`.

    Raises:
        DataError: When the target has no validation split.
    """
    if not retained:
        return None
    if not examples:
        raise _lacking(target.task.name, "its validation split is empty", _FLAG)
    return ValidationSets(replace(target, examples=tuple(examples)), retained)


def _lacking(name: str, why: str, asked: str) -> DataError:
    return DataError(
        f"no validation split to choose on ({why})",
        where=f"task '{name}'",
        fix=f"Give it one, leave it out of --retain, or leave {asked} out.",
    )
