"""Tasks of lm-eval among those that a command names: found, loaded and made ready. lm-eval is imported here, late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from luthier.config.advice import use_torch
from luthier.config.data import EncodingConfig
from luthier.errors import ConfigError, LuthierError, TaskError, collecting
from luthier.inference.engine import TORCH
from luthier.models.language_model import LanguageModel
from luthier.tasks.names import HARNESS, of_harness, require_task
from luthier.tasks.task_sets import NamedTask

if TYPE_CHECKING:
    from luthier.evaluation.harness.groups import HarnessGroup
    from luthier.evaluation.harness.loading import Loaded
    from luthier.evaluation.harness.task import HarnessTask


@dataclass(frozen=True)
class Harness:
    """Tasks of lm-eval, ready for one model.

    Attributes:
        tasks: Each once.
        groups: Those of its groups that have an aggregate.
    """

    tasks: tuple[HarnessTask, ...] = ()
    groups: tuple[HarnessGroup, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """How the tasks of lm-eval are asked.

    Attributes:
        shots: Exemplars, for tasks that do not fix them at 0; the task's own number when None.
        limit: Documents of a task at most, drawn by hash; all when None.
        seed: Decides which are drawn.
        max_new_tokens: Tokens of an answer at most; the task's own number when None.
    """

    shots: int | None
    limit: int | None
    seed: int
    max_new_tokens: int | None


def apart(names: Sequence[NamedTask]) -> tuple[list[NamedTask], list[str]]:
    """Tell tasks of Luthier from those of lm-eval, which are returned without ``lm_eval:``."""
    ours = [named for named in names if not of_harness(named.name)]
    return ours, [named.name.removeprefix(HARNESS) for named in names if of_harness(named.name)]


def load_harness(
    names: Sequence[str],
    data: EncodingConfig,
    faults: list[LuthierError],
    *,
    engine: str = TORCH,
    run_code: bool = False,
) -> Loaded | None:
    """Load tasks of lm-eval; None where none is named, or there are faults.

    Args:
        names: Without ``lm_eval:``.
        data: Names the folder of data.
        faults: Those that are found are added.
        engine: What is to answer them.
        run_code: Whether answers that are programs may be run.
    """
    if names and engine != TORCH:
        what = "tasks of lm-eval ask which answers are the likeliest, which this engine does not say"
        faults.append(ConfigError(what, where="evaluation.engine", fix=f"{use_torch().capitalize()}."))
    for name in names:
        with collecting(faults):
            require_task(HARNESS + name)
    if not names or faults:
        return None
    try:
        from luthier.evaluation.harness.loading import load_tasks
    except ImportError as error:  # of a later version of lm-eval
        what = f"this version of lm-eval cannot be used: {error}"
        faults.append(TaskError(what, where=f"{HARNESS}{names[0]}", fix="pip install lm-eval==0.4.13"))
        return None
    try:
        return load_tasks(names, data=data.folder, run_code=run_code)
    except LuthierError as fault:
        faults.append(fault)
        return None


def prepare_harness(
    loaded: Loaded | None,
    model: LanguageModel,
    data: EncodingConfig,
    asked: Asked,
    faults: list[LuthierError],
) -> Harness:
    """Make the loaded tasks ready for a model.

    Args:
        loaded: From :func:`load_harness`.
        model: With its adapter's virtual tokens kept free.
        data: How long examples may be, and whether the chat template is used.
        asked: How tasks are asked.
        faults: Those that are found are added.
    """
    if loaded is None:
        return Harness()
    from luthier.evaluation.harness.documents import HarnessSettings
    from luthier.evaluation.harness.groups import groups_of
    from luthier.evaluation.harness.loading import quiet
    from luthier.evaluation.harness.task import prepare_task
    from luthier.evaluation.harness.tokens import RequestEncoder

    chat = data.chat == "always"
    if chat and not getattr(model.tokenizer, "chat_template", None):
        what = "the tokenizer has no chat template, in which the tasks of lm-eval are to be asked"
        faults.append(ConfigError(what, where="data.chat", fix="Leave it out: their prompts are plain then."))
        return Harness()
    longest = min(data.max_length or model.max_length, model.max_length)
    with quiet():
        encoder = RequestEncoder(model, max_length=longest, chat_arguments=data.chat_arguments)
    settings = HarnessSettings(asked.shots, asked.limit, asked.seed, chat, asked.max_new_tokens)
    tasks: list[HarnessTask] = []
    for task in loaded.tasks:
        with collecting(faults):
            tasks.append(prepare_task(task, encoder, settings))
    return Harness(tuple(tasks), groups_of(loaded.groups, tasks) if not faults else ())
