"""Typed configuration: one home for each knob.

A configuration comes from a YAML file, then ``--set key=value``, then named flags; later wins. Unknown keys and bad
values are errors that name the key, the line and the nearest key that exists, all of them at once.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from luthier.errors import ConfigError, LuthierError, did_you_mean, raise_faults

KeyPath: TypeAlias = tuple[str | int, ...]
_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
Fraction = Annotated[float, Field(ge=0, le=1)]


class Settings(BaseModel):
    """Base of every configuration: frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())


class DataConfig(Settings):
    """Which examples are used."""

    train: int | None = Field(default=None, ge=1)
    """Training examples, drawn by hash of the id; all when not given."""
    validation: int | None = Field(default=None, ge=1)
    """Validation examples; all when not given."""
    test: int | None = Field(default=None, ge=1)
    """Test examples; all when not given."""
    max_length: int | None = Field(default=None, ge=8)
    """Tokens of prompt and target together; the model's own limit when not given."""
    max_lost: Fraction = 0.1
    """Share of examples that may be dropped before it is an error."""
    chat: Literal["auto", "never", "always"] = "auto"
    """Whether the model's chat template is used: where it has one and the task wants it, never, or always."""


class TrainingConfig(Settings):
    """How an arm is trained."""

    learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate; the method's own default when not given."""
    epochs: float = Field(default=3, gt=0)
    """Passes over the training examples."""
    steps: int | None = Field(default=None, ge=1)
    """Optimizer steps; instead of epochs."""
    batch_size: int = Field(default=16, ge=1)
    """Examples in one optimizer step."""
    micro_tokens: int = Field(default=8192, ge=1)
    """Tokens in one forward pass; a step is cut into as many as it needs, with the same result."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after the warm-up."""
    warmup: Fraction = 0.05
    """Share of the steps over which the learning rate rises from 0."""
    final: Fraction = 0.1
    """Share of the peak learning rate that is left at the last step."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled weight decay, on matrices only."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's averaging coefficients."""
    epsilon: float = Field(default=1e-8, gt=0)
    """AdamW's denominator term."""
    clip_norm: float | None = Field(default=1.0, gt=0)
    """Greatest norm of the gradient; ``null`` for none."""
    evaluations: int = Field(default=4, ge=0)
    """How many times the validation split is measured; 0 means that the last weights are kept."""
    validation_examples: int = Field(default=64, ge=1)
    """Examples on which validation generates answers."""
    patience: int | None = Field(default=None, ge=1)
    """Evaluations without a gain after which training stops early."""
    checkpoint_seconds: float = Field(default=60, ge=0)
    """Seconds between checkpoints from which a killed run goes on; 0 checkpoints every step."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """Of matrix products in training; the weights stay float32. ``auto`` is bf16 on CUDA and float32 on a CPU."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    reuse_mib: int = Field(default=1024, ge=0)
    """Memory for the states of examples below the first trained block, read again in later epochs; 0 computes anew."""
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = ()
    """Where each line of ``log.jsonl`` also goes; their packages are installed apart."""


class DecodingConfig(Settings):
    """How answers are generated."""

    max_new_tokens: int | None = Field(default=None, ge=1)
    """Tokens generated at most; the task's own limit when not given."""
    temperature: float = Field(default=0.0, ge=0)
    """0 is greedy."""
    top_k: int | None = Field(default=None, ge=1)
    """Sample among the k likeliest tokens."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Sample among the likeliest tokens that hold this probability together."""
    seed: int = 0
    """Seed of sampling; each example has its own stream, so batches do not matter."""
    beams: int = Field(default=1, ge=1)
    """Beginnings of an answer that a beam search carries on side by side; 1 is greedy, or sampling."""
    length_penalty: float = 1.0
    """A beam's log-probability is divided by its length to this power: more favours longer answers."""

    @model_validator(mode="after")
    def _beams_are_not_drawn(self) -> DecodingConfig:
        if self.beams > 1 and self.temperature > 0:
            raise ValueError("beams are searched, not sampled: give `beams` or a `temperature`, not both")
        return self


class EvaluationConfig(Settings):
    """How arms are measured."""

    retain_examples: int | None = Field(default=200, ge=1)
    """Test examples of each retained task; ``null`` for all."""
    batch_tokens: int = Field(default=8192, ge=1)
    """Tokens in one forward pass of inference."""
    engine: Literal["torch", "ctranslate2", "ctranslate2-int8"] = "torch"
    """What computes the answers of ``luthier eval``: torch, or CTranslate2 on a CPU, with 8-bit weights by choice."""
    cache: bool = True
    """Use the answers that earlier evaluations with the same store gave to the same tokens, and keep these."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Level of every interval."""
    resamples: int = Field(default=1000, ge=100)
    """Bootstrap resamples behind every interval."""


class ArmConfig(Settings):
    """One thing that is compared: a method or none, shots, and whatever differs from the run's settings."""

    name: str = Field(pattern=r"^\w[\w.+-]*$", max_length=60)
    """What tables and files call it: letters, digits, ``_ . + -``."""
    method: str | None = None
    """Name of a method, or a method with its settings as ``{lora: {rank: 4}}``; none for in-context learning."""
    shots: int = Field(default=0, ge=0)
    """Exemplars before the prompt, as many as fit."""
    replay: float = Field(default=0.0, ge=0)
    """Training examples of the watched tasks, in equal parts, for each of the target's: against forgetting."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """The method's own settings, e.g. ``{rank: 4}``."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Training settings that differ from the run's."""

    @model_validator(mode="before")
    @classmethod
    def _method_with_settings(cls, given: Any) -> Any:
        """Read ``method: {lora: {rank: 4}}`` as ``method: lora, settings: {rank: 4}``."""
        method = given.get("method") if isinstance(given, Mapping) else None
        if not isinstance(method, Mapping):
            return given
        if len(method) != 1 or "settings" in given:
            raise ValueError("`method` holds one name with its settings, and then there is no `settings` beside it")
        ((name, settings),) = method.items()
        return {**given, "method": name, "settings": settings or {}}


def _arm_kind(value: object) -> str:
    return "preset" if isinstance(value, str) else "spelled"


ArmItem: TypeAlias = Annotated[
    Annotated[str, Tag("preset")] | Annotated[ArmConfig, Tag("spelled")], Discriminator(_arm_kind)
]


class SearchConfig(Settings):
    """How hyper-parameters are chosen, on the validation split."""

    trials: int = Field(default=0, ge=0)
    """Trainings that each trained arm may spend, its defaults first; 0 trains the defaults alone."""
    prune: bool = True
    """Stop a trial that is worse than half of the earlier ones were at the same place."""


class CompareConfig(Settings):
    """Everything that ``luthier compare`` depends on."""

    model: str = "mini"
    """Hugging Face id, folder, or ``mini``."""
    task: str = "dialogue_summary"
    """Built-in name, task YAML, or data file."""
    arms: tuple[ArmItem, ...] = ("zero_shot", "one_shot", "few_shot", "full", "lora")
    """What is compared: names of presets, or arms spelled out."""
    retain: tuple[str, ...] | None = None
    """Tasks on which forgetting is measured; every other built-in task that the model can hold when not given."""
    retain_text: str | None = "plain_text"
    """Held-out plain text for token loss: ``plain_text``, a file of rows with a ``text`` column, or ``null``."""
    out: Path = Path("runs")
    """Folder of runs and of the store that they share."""
    name: str | None = Field(default=None, pattern=r"^\w[\w.+-]*$", max_length=100)
    """Folder of this run inside ``out``; made of the task, the model and a digest when not given."""
    seed: int = 0
    """Seed of everything that is drawn."""
    device: str | None = None
    """``cpu``, ``cuda``, ``cuda:1``, ``mps``; the best there is when not given."""
    trust_remote_code: bool = False
    """Run code that comes with the model; only for models that you trust."""
    data: DataConfig = DataConfig()
    """Which examples are used."""
    training: TrainingConfig = TrainingConfig()
    """How arms are trained."""
    search: SearchConfig = SearchConfig()
    """How their hyper-parameters are chosen."""
    decoding: DecodingConfig = DecodingConfig()
    """How answers are generated."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How arms are measured."""


S = TypeVar("S", bound=BaseModel)


def load_yaml(path: Path, error: type[LuthierError] = ConfigError) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """Read a YAML mapping and the line on which each of its keys stands (from 1).

    Raises:
        LuthierError: Of the given class, when the file is missing, is not UTF-8, is not YAML, repeats a key, or is not
            a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except OSError as fault:
        raise error(f"cannot read the file ({fault.strerror})", where=str(path), fix="Check the path.") from None
    except UnicodeDecodeError as fault:
        raise error(f"not UTF-8 (byte {fault.start})", where=str(path), fix="Save it as UTF-8.") from None
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(fault, "problem", None) or str(fault).splitlines()[0]
        raise error(f"not YAML: {problem}", where=f"{path}{line}", fix="Mend the YAML at this line.") from None
    if not isinstance(data, dict):
        raise error("not a mapping of keys to values", where=str(path), fix="Write `key: value` lines.")
    lines: dict[KeyPath, int] = {}
    repeated: list[LuthierError] = []
    _record_lines(node, (), lines, repeated, path, error)
    raise_faults(f"{path} repeats keys", repeated)
    return data, lines


def _record_lines(
    node: yaml.Node | None,
    at: KeyPath,
    lines: dict[KeyPath, int],
    repeated: list[LuthierError],
    path: Path,
    error: type[LuthierError],
) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*at, str(key.value))
            line = key.start_mark.line + 1
            if here in lines:
                where = f"{path}, line {line}"
                what = f"key '{key.value}' was given on line {lines[here]} too"
                repeated.append(error(what, where=where, fix="Keep one of them."))
            lines[here] = line
            _record_lines(value, here, lines, repeated, path, error)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*at, index)] = value.start_mark.line + 1
            _record_lines(value, (*at, index), lines, repeated, path, error)


def validate(
    schema: type[S],
    data: Mapping[str, Any],
    *,
    source: str,
    lines: Mapping[KeyPath, int] | None = None,
    error: type[LuthierError] = ConfigError,
) -> S:
    """Turn plain data into a configuration.

    Args:
        schema: The pydantic class.
        data: Keys and values, nested.
        source: Where the data came from, for messages (a path, ``"--set"``).
        lines: Line of each key path, from :func:`load_yaml`.
        error: Class of the faults raised.

    Raises:
        LuthierError: One fault, or :class:`~luthier.errors.Faults` with all of them.
    """
    try:
        return schema.model_validate(data)
    except ValidationError as invalid:
        faults = [_fault(schema, dict(item), source, lines or {}, error) for item in invalid.errors()]
    raise_faults(f"{source} has {len(faults)} faults", faults)
    raise AssertionError("unreachable")


def _fault(
    schema: type[BaseModel],
    item: dict[str, Any],
    source: str,
    lines: Mapping[KeyPath, int],
    error: type[LuthierError],
) -> LuthierError:
    location: KeyPath = tuple(part for part in item["loc"] if part not in ("preset", "spelled"))
    unknown = item["type"] in ("extra_forbidden", "invalid_key")  # a key that YAML reads as a number is unknown too
    if unknown:
        location = (*location[:-1], str(location[-1]))
    line = next((lines[location[:k]] for k in range(len(location), 0, -1) if location[:k] in lines), None)
    where = f"{source}, line {line}" if line else source
    key = ".".join(str(part) for part in location)
    if unknown:
        return error(f"unknown key '{key}'", where=where, fix=did_you_mean(str(location[-1]), _keys(schema, location)))
    if item["type"] == "missing":
        return error(f"key '{key}' is missing", where=where, fix=f"Add `{location[-1]}:`.")
    message = str(item["msg"]).removeprefix("Value error, ")
    if not location:
        return error(message, where=where, fix="Change the keys that are named here.")
    given = item.get("input")
    shown = f" (given: {given!r})" if not isinstance(given, dict | list) else ""
    return error(f"key '{key}': {message}{shown}", where=where, fix=_describe(schema, location))


def _schemas_at(schema: type[BaseModel], location: KeyPath) -> list[type[BaseModel]]:
    """Return the settings classes that own the last key of a location."""
    owners: list[type[BaseModel]] = [schema]
    for part in location[:-1]:
        nested: list[type[BaseModel]] = []
        for owner in owners:
            if isinstance(part, str) and part in owner.model_fields:
                nested += _models_in(owner.model_fields[part].annotation)
        owners = nested or owners
    return owners


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models_in(part)]


def _keys(schema: type[BaseModel], location: KeyPath) -> set[str]:
    return {
        field.alias or name for owner in _schemas_at(schema, location) for name, field in owner.model_fields.items()
    }


def _describe(schema: type[BaseModel], location: KeyPath) -> str:
    for owner in _schemas_at(schema, location):
        field = owner.model_fields.get(str(location[-1])) if location else None
        if field is not None and field.description:
            return field.description.split("\n")[0]
    return "See the documentation of this key."


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Turn ``["training.epochs=2", "data.train=400"]`` into nested keys; values are read as YAML.

    Raises:
        ConfigError: When an item is not ``key=value``.
    """
    values: dict[str, Any] = {}
    for item in assignments:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"'{item}' is not key=value", where="--set", fix="Write --set training.epochs=2.")
        try:
            values[key.strip()] = _number(yaml.safe_load(value))
        except yaml.YAMLError:
            what = f"the value of '{key}' is not YAML: {value}"
            raise ConfigError(what, where="--set", fix="Write a number, a word, or a list such as [a, b].") from None
    return nested(values)


def nested(dotted: Mapping[str, Any]) -> dict[str, Any]:
    """Turn ``{"data.train": 400}`` into ``{"data": {"train": 400}}``.

    Raises:
        ConfigError: When a key lies below another that has a value.
    """
    tree: dict[str, Any] = {}
    for key, value in dotted.items():
        place = tree
        *parents, last = key.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                what = f"'{key}' lies below a key that already has a value"
                raise ConfigError(what, where="--set", fix="Set one or the other.")
        if isinstance(place.get(last), dict):
            raise ConfigError(f"'{key}' lies above a key that already has a value", where="--set", fix="Set one.")
        place[last] = value
    return tree


def _number(value: object) -> object:
    """YAML 1.1 reads ``1e-4`` as text; people mean a number."""
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the keys of ``over`` laid upon it, nested mappings merged."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged
