"""The base of every settings class, and the settings that several verbs share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
Tasks = Annotated[tuple[str, ...] | None, BeforeValidator(lambda given: () if given == "none" else given)]
"""Names of tasks; the word ``none`` is no task, in a file and in Python as on the command line."""
NameOrNone = Annotated[str | None, BeforeValidator(lambda given: None if given == "none" else given)]
"""A name; the word ``none`` is none."""
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""What every random generator in use takes."""


class Settings(BaseModel):
    """Base of every configuration: frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())

    renamed: ClassVar[Mapping[str, str]] = {}
    """Former name of a key → its present name, so that the error for an old configuration names the new key."""

    def in_full(self) -> dict[str, Any]:
        """Return every setting as plain values, defaults included; what follows from others is filled in."""
        return self.model_dump(mode="json")


class StoreSettings(Settings):
    """Where results are kept."""

    renamed: ClassVar[Mapping[str, str]] = {"out": "runs"}

    runs: Path = Path("runs")
    """Folder of runs and of the store that they share."""


class RemakingSettings(StoreSettings):
    """Where results are kept, by verbs that make them."""

    remake_damaged: bool = False
    """Make stored results anew whose files are not what was written, instead of stopping at them."""


class DeviceSettings(Settings):
    """Where the model computes."""

    device: str | None = None
    """``cpu``, ``cuda``, ``cuda:1``, ``mps``; the best device of this machine when not given."""


class ModelSettings(Settings):
    """The model, and the seed."""

    model: str = "mini"
    """A Hugging Face id, a folder, or ``mini``."""
    seed: Seed = 0
    """The seed of everything that is drawn."""
    trust_remote_code: bool = False
    """Run code that comes with the model; only for models that you trust."""


class TaskSettings(Settings):
    """The task that a model learns."""

    task: str = "dialogue_summary"
    """A built-in name, a task YAML, or a data file."""
