"""What is refused in somebody's adapter configuration before ``peft`` sees it: by name, and all of it at once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from luthier.errors import LuthierError, ModelError, did_you_mean, raise_faults
from luthier.files.json_object import short
from luthier.models.language_model import LanguageModel

_UNSUPPORTED = {
    "layer_replication": "repeats the model's blocks, so the model itself would be another",
    "alora_invocation_tokens": "adapts only what follows certain tokens",
    "megatron_config": "needs Megatron's layers",
    "arrow_config": "chooses among other adapters for each token",
    "use_bdlora": "needs layers that are split over devices",
}
"""Keys that change how the model computes in a way that is not supported, and what they do."""
# These count steps or seed random numbers; they are the size of nothing.
_NO_SIZES = ("step", "seed", "prng", "tinit", "tfinal", "deltaT")
_LARGEST = 1e9
_ENOUGH = 4096
_UPDATE = "Update peft, or remove the key if the adapter does not need it."


def peft_types() -> dict[str, Any]:
    """Return the configuration classes of the installed ``peft``, by ``peft_type``."""
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING

    return {str(getattr(kind, "value", kind)): config for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()}


def check_config(
    written: Mapping[str, Any], tensors: Mapping[str, Tensor], model: LanguageModel, *, where: str
) -> None:
    """Check an adapter's configuration against what it says it is, its tensors, and the model.

    Args:
        written: ``adapter_config.json``.
        tensors: Of the adapter.
        model: That it is put on.
        where: The file.

    Raises:
        ModelError: When its kind or a key that is set is unknown, a key asks for what is not supported, or a number
            cannot be what it should be; all of them.
    """
    kinds, kind = peft_types(), written.get("peft_type")
    if not isinstance(kind, str) or kind not in kinds:
        what = f"peft_type is {kind!r}, which this version of peft does not have"
        raise ModelError(what, where=where, fix=did_you_mean(str(kind), kinds))
    known = {field.name for field in dataclasses.fields(kinds[kind])}
    faults: list[LuthierError] = []
    for key, value in written.items():
        if key in _UNSUPPORTED and value:
            what = f"{key} {_UNSUPPORTED[key]}, which is not supported"
            faults.append(ModelError(what, where=where, fix="Merge the adapter with peft, and load the merged model."))
        elif key not in known and value not in (None, False, "", [], {}):
            what = f"peft_type {kind} has no key '{key}' in this version of peft, and it is set to {short(value)}"
            faults.append(ModelError(what, where=where, fix=_UPDATE))
    if str(written.get("init_lora_weights")).startswith("corda"):
        what = "init_lora_weights is 'corda': the base was changed by data that is not in this folder"
        fix = "Convert it with peft: save_pretrained(..., path_initial_model_for_weight_conversion=...)."
        faults.append(ModelError(what, where=where, fix=fix))
    faults += _numbers(written, tensors, model, where)
    raise_faults(f"{where} cannot be used", faults)


def _numbers(
    written: Mapping[str, Any], tensors: Mapping[str, Tensor], model: LanguageModel, where: str
) -> Iterator[LuthierError]:
    """Yield a fault for each number that no adapter of these tensors could have."""
    rows = model.module.get_input_embeddings().weight.shape[0]
    sizes = [size for tensor in (*tensors.values(), *model.module.parameters()) for size in tensor.shape]
    largest = max(_ENOUGH, *sizes)
    fix = "Correct the key, or fetch the adapter again."
    for key, value in written.items():
        for path, number in _numbers_in(value, key):
            if key == "trainable_token_indices":
                if not isinstance(number, int) or not 0 <= number < rows:
                    what = f"{path} is {number!r}, which is no token of this model: it has {rows} embeddings"
                    yield ModelError(what, where=where, fix="Load the base that it was trained on.")
            elif not math.isfinite(number) or abs(number) > _LARGEST:
                yield ModelError(f"{path} is {number!r}, which is no number to compute with", where=where, fix=fix)
            elif isinstance(number, int) and number > largest and not any(part in key for part in _NO_SIZES):
                what = f"{path} is {number}, larger than anything in the adapter and the model (at most {largest})"
                yield ModelError(what, where=where, fix=fix)


def _numbers_in(value: Any, path: str) -> Iterator[tuple[str, int | float]]:
    """Yield the numbers in a value, with where they stand."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield path, value
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _numbers_in(item, f"{path}[{place}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers_in(item, f"{path}.{key}")
