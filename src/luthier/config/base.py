"""The base of every settings class, and the settings that several verbs share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NoReturn, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from luthier.arguments import shown
from luthier.config.validation import Written, fault_of
from luthier.errors import ConfigError
from luthier.user_path import user_path

Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""What every random generator in use takes."""


def _name_of(given: object) -> object:
    return str(given) if isinstance(given, Path) else given


def _some_name(name: str) -> str:
    if not name.strip() or "\x00" in name:
        raise ValueError("a name or a path is wanted")
    return name


def _usable(path: Path) -> Path:
    if "\x00" in str(path):
        raise ValueError("a path holds no NUL")
    return user_path(path)


Name = Annotated[str, BeforeValidator(_name_of), AfterValidator(_some_name)]
"""A name that may be a path too, of a model or a task; in Python it may be a ``Path``."""
Tasks = Annotated[tuple[Name, ...] | None, BeforeValidator(lambda given: () if given == "none" else given)]
"""Names of tasks; the word ``none`` is no task, in a file and in Python as on the command line."""
NameOrNone = Annotated[Name | None, BeforeValidator(lambda given: None if given == "none" else given)]
"""A name; the word ``none`` is none."""
UserPath = Annotated[Path, AfterValidator(_usable)]
"""A path in which ``~`` is the home folder."""


class Settings(BaseModel):
    """Base of every configuration: frozen, and unknown keys are errors.

    Raises:
        ConfigError: A key is unknown, or a value cannot be used; of several faults, :class:`~luthier.errors.Faults`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())

    renamed: ClassVar[Mapping[str, str]] = {}
    """Former name of a key → its present name, so that the error for an old configuration names the new key."""

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as invalid:
            raise _told(type(self), invalid) from None

    # Of nested settings pydantic reports the faults itself, so that all are told at once, with the whole way to each.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Make settings of a mapping, as pydantic does; what is wrong is a :class:`ConfigError`."""
        try:
            return super().model_validate(obj, **options)
        except ValidationError as invalid:
            raise _told(cls, invalid) from None

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Make settings of JSON, as pydantic does; what is wrong is a :class:`ConfigError`."""
        try:
            return super().model_validate_json(json_data, **options)
        except ValidationError as invalid:
            raise _told(cls, invalid) from None

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return the same settings with other values for some keys, which are checked like any others."""
        copied = super().model_copy(deep=deep)
        if not update:
            return copied
        given = {name: getattr(copied, name) for name in copied.model_fields_set}
        return type(self)(**{**given, **update})

    if not TYPE_CHECKING:  # hidden, so that a type checker still refuses both

        def __new__(cls, *given: object, **_: object) -> Self:
            """Refuse values without names."""
            if given:
                what = f"settings are given by their names, and {shown(given[0])} has none"
                name = next(iter(cls.model_fields))
                raise ConfigError(what, where=cls.__name__, fix=f"Write {cls.__name__}({name}=…).")
            return super().__new__(cls)

        def __setattr__(self, name: str, value: object) -> NoReturn:
            """Refuse to change settings: a run is what its settings were when it began."""
            kind = type(self).__name__
            fix = f"Make new ones: model_copy(update={{{name!r}: …}})."
            raise ConfigError("settings cannot be changed", where=f"{kind}.{name}", fix=fix)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Show what was given alone, as it would be written: the defaults stand in the documentation."""
        return ((name, getattr(self, name)) for name in type(self).model_fields if name in self.model_fields_set)

    def __str__(self) -> str:
        return repr(self)

    def in_full(self) -> dict[str, Any]:
        """Return every setting as plain values, defaults included; what follows from others is filled in."""
        return self.model_dump(mode="json")


def _told(kind: type[Settings], invalid: ValidationError) -> Exception:
    return fault_of(invalid, kind, Written(kind.__name__, in_python=True))


class StoreSettings(Settings):
    """Where results are kept."""

    renamed: ClassVar[Mapping[str, str]] = {"out": "runs"}

    runs: UserPath = Path("runs")
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

    model: Name = "mini"
    """A Hugging Face id, a folder, or ``mini``."""
    seed: Seed = 0
    """The seed of everything that is drawn."""
    trust_remote_code: bool = False
    """Run code that comes with the model; only for models that you trust."""


class TaskSettings(Settings):
    """The task that a model learns."""

    task: Name = "dialogue_summary"
    """A built-in name, a task YAML, or a data file."""
