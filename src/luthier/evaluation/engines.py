"""The engines that a measurement asks for: the one that answers, and the one that it is measured against."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from luthier.config.advice import use_torch
from luthier.errors import ConfigError, ModelError
from luthier.evaluation.context import EvaluationContext
from luthier.inference.ct2_convert import examples_to_compare, open_converted
from luthier.inference.ct2_engine import Precision, require_greedy
from luthier.inference.engine import TORCH, Engine
from luthier.methods.base import Attached
from luthier.methods.merging import merge
from luthier.models.language_model import LanguageModel

_PRECISIONS: dict[str, Precision] = {"ctranslate2": "float32", "ctranslate2-int8": "int8"}


@dataclass(frozen=True, slots=True)
class Engines:
    """What computes answers.

    Attributes:
        answers: The engine that was asked for; None is torch.
        exact: The same with the model's own weights, where those of the first are coarser: what they cost is measured.
    """

    answers: Engine | None = None
    exact: Engine | None = None


def device_for(engine: str, device: str | None) -> str | None:
    """Return the device that the model is loaded on for an engine.

    Raises:
        ConfigError: When the engine does not compute there.
    """
    if engine == TORCH:
        return device
    if device not in (None, "cpu"):
        raise ConfigError(
            f"the engine {engine} computes on the CPU, and device is '{device}'",
            where="evaluation.engine",
            fix=f"Leave --device out, or {use_torch()}.",
        )
    return "cpu"


def open_engines(engine: str, model: LanguageModel, attached: Attached | None, context: EvaluationContext) -> Engines:
    """Open an engine; what is not in the store yet is converted.

    Args:
        engine: Its name.
        model: With the adapter, if there is one.
        attached: The adapter; it is merged while the model is converted.
        context: Names the store, the adapter's key, and how answers are generated.

    Raises:
        LuthierError: When the engine is not installed, the model cannot be converted, or the adapter cannot be merged.
    """
    if engine == TORCH:
        return Engines()
    require_greedy(context.decoding)
    out, adapter, whole = context.out, context.adapter, partial(_merged, model, attached)
    opened = open_converted(model, out, _PRECISIONS[engine], adapter=adapter, whole=whole)
    if _PRECISIONS[engine] == "float32":
        return Engines(opened)
    return Engines(opened, open_converted(model, out, "float32", adapter=adapter, whole=whole))


@contextlib.contextmanager
def _merged(model: LanguageModel, attached: Attached | None) -> Iterator[None]:
    """Have the adapter in the weights inside."""
    if attached is None:
        yield
        return
    try:
        undo = merge(model, attached, examples_to_compare(model)).undo
    except ModelError as fault:
        raise ModelError(
            f"CTranslate2 needs the adapter in the weights, and {fault.what}",
            where="evaluation.engine",
            fix=f"{use_torch().capitalize()}.",
        ) from None
    try:
        yield
    finally:
        undo()
