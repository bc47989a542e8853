"""What the YAML file of a mixture may say: several tasks and texts in one training set, each with its share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from luthier.config.base import Name, Settings
from luthier.config.validation import validate
from luthier.config.yaml_file import load_yaml
from luthier.errors import TaskError
from luthier.tasks.names import YAML, library_names, on_hub
from luthier.user_path import user_path


class MixtureSource(Settings):
    """One task or text of a mixture."""

    task: Name | None = None
    """A task: a built-in name, a task YAML, a data file."""
    text: Name | None = None
    """Plain text instead: a ``.txt`` file whose documents stand between blank lines, or rows with a ``text`` column."""
    weight: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """What its rate is multiplied by; with ``rate: weights`` it is the rate."""
    templates: Literal["all"] | tuple[str, ...] = "all"
    """The templates of the task by which its examples are worded, one after another from visit to visit."""
    shots: tuple[int, ...] = (0,)
    """Numbers of exemplars before a prompt, of which each example has one; another one at each visit."""
    choices: Literal["as_written", "shown", "hidden", "both"] = "as_written"
    """Whether the choices are listed after the prompt: never more than its template does (``as_written``, ``hidden``),
    always, or at every other visit."""
    targets: Literal["answer", "reasoning"] = "answer"
    """Whether reasoning that a row holds apart from its answer is learned with it."""

    @field_validator("shots", mode="before")
    @classmethod
    def _one_number(cls, given: object) -> object:
        return (given,) if isinstance(given, int) and not isinstance(given, bool) else given

    @field_validator("shots")
    @classmethod
    def _not_negative(cls, shots: tuple[int, ...]) -> tuple[int, ...]:
        if not shots or min(shots) < 0:
            raise ValueError("whole numbers of at least 0")
        return shots

    @model_validator(mode="after")
    def _task_or_text(self) -> MixtureSource:
        if (self.task is None) == (self.text is None):
            raise ValueError("a source is one `task` or one `text`")
        if self.text is not None and (own := self.model_fields_set - {"text", "weight"}):
            raise ValueError(f"plain text has no {', '.join(sorted(own))}")
        return self

    @property
    def name(self) -> str:
        """What it is called in the file."""
        return self.task or self.text or ""


class MixtureSpec(Settings):
    """A mixture as its YAML file says it."""

    name: str = ""
    """What tables call it; the name of the file when not given."""
    target: Name | None = None
    """The task by whose validation split the weights are chosen, and whose test split is answered; the first when not
    given."""
    tasks: tuple[MixtureSource, ...]
    """Names of tasks, or mappings with more to say of them."""
    rate: Literal["examples", "equal", "weights"] = "examples"
    """What the share of a source follows: its number of examples, nothing, or its weight."""
    cap: int | None = Field(default=None, ge=1)
    """Examples of a source that count at most."""
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Rates are examples, after the cap, to the power 1 / temperature: 1 is proportional, more is nearer to equal."""
    unit: Literal["examples", "tokens"] = "examples"
    """What shares are of: examples, or supervised tokens."""
    size: int | None = Field(default=None, ge=1)
    """Examples of an epoch; those of all sources, each counted to the cap, when not given."""
    repeat: float = Field(default=4.0, gt=0)
    """How often an example may stand in an epoch; what a source then lacks goes to the others."""

    @field_validator("tasks", mode="before")
    @classmethod
    def _names_are_sources(cls, given: object) -> object:
        """Read a name as a task."""
        if not isinstance(given, list | tuple):
            return given
        if not given:
            raise ValueError("a mixture has at least one task")
        return [{"task": item} if isinstance(item, str | Path) else item for item in given]

    @model_validator(mode="after")
    def _sources_fit(self) -> MixtureSpec:
        twice = [name for name, count in Counter(source.name for source in self.tasks).items() if count > 1]
        if twice:
            raise ValueError(f"'{twice[0]}' stands twice among the tasks")
        if all(source.task is None for source in self.tasks) and self.target is None:
            raise ValueError("a mixture of plain text alone has no target; name one with `target`")
        given = [source.name for source in self.tasks if source.weight is not None]
        lacking = [source.name for source in self.tasks if source.weight is None]
        if self.rate == "weights" and lacking:
            raise ValueError(f"with `rate: weights` each source has a `weight`, and '{lacking[0]}' has none")
        if self.rate == "equal" and given:
            raise ValueError(f"with `rate: equal` no source has a `weight`, and '{given[0]}' has one")
        return self

    @property
    def target_name(self) -> str:
        """The task that is chosen and measured by."""
        return self.target or next(source.task for source in self.tasks if source.task is not None)


def is_mixture(name: str) -> bool:
    """Whether a name is that of the YAML file of a mixture: a list of tasks, and no rows of its own."""
    path = user_path(name)
    if path.suffix not in YAML or not path.is_file():
        return False
    written, _ = load_yaml(path, TaskError)
    return "tasks" in written and "source" not in written


def read_mixture(name: str) -> MixtureSpec:
    """Read the file of a mixture; relative paths in it are those from its folder.

    Raises:
        TaskError: When something in it is wrong.
        Faults: When several things are.
    """
    path = user_path(name)
    written, lines = load_yaml(path, TaskError)
    spec = validate(MixtureSpec, written, source=str(path), lines=lines, error=TaskError)
    changes: dict[str, Any] = {"tasks": tuple(_placed(spec, path.parent)), "name": spec.name or path.stem}
    if spec.target is not None:
        changes["target"] = _place(spec.target, path.parent)
    return spec.model_copy(update=changes)


def _placed(spec: MixtureSpec, folder: Path) -> Iterator[MixtureSource]:
    for source in spec.tasks:
        key = "task" if source.task is not None else "text"
        yield source.model_copy(update={key: _place(source.name, folder)})


def _place(name: str, folder: Path) -> str:
    """Return a path that is relative to a folder as one from here; other names as they are."""
    if name in library_names() or on_hub(name) or user_path(name).is_absolute():
        return name
    beside = folder / name
    return str(beside) if beside.exists() else name
