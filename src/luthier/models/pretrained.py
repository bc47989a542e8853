"""Read a module from a folder in the Hugging Face layout, strictly: what ``transformers`` only warns of is an error."""

from __future__ import annotations

import contextlib
import logging as levels
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from luthier.errors import LuthierError, ModelError, raise_faults


def read_module(
    reader: Any, folder: Path, *, dtype: torch.dtype, trust_remote_code: bool = False, refuse_foreign: bool = False
) -> Any:
    """Load weights from safetensors.

    ``transformers`` draws tensors that are missing or of another shape at random, with a warning; a model that is
    partly random looks like a model that learned badly.

    Args:
        reader: An ``AutoModel…`` class, or the class of the module.
        folder: Holds ``config.json`` and ``*.safetensors``.
        dtype: Of the weights.
        trust_remote_code: Run Python code that comes with the model.
        refuse_foreign: Refuse tensors that the module has no place for. Published checkpoints often hold a few.

    Raises:
        ModelError: When the weights are damaged, missing, foreign or of another shape; all tensors are listed.
    """
    try:
        with _quiet():
            module, info = reader.from_pretrained(
                folder,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # so that all of them are known, not only the first
            )
    except Exception as fault:  # damaged safetensors and foreign architectures raise many classes
        raise ModelError(
            f"the weights cannot be loaded: {first_line(fault)}", where=str(folder), fix="Fetch the model again."
        ) from None
    raise_faults(f"the weights in {folder} do not fit the model", _misfits(info, folder, refuse_foreign))
    return module


def _misfits(info: dict[str, Any], folder: Path, refuse_foreign: bool) -> list[LuthierError]:
    where = str(folder)
    faults: list[LuthierError] = []
    mismatched = {name: (tuple(stored), tuple(own)) for name, stored, own in info["mismatched_keys"]}
    for name in sorted(set(info["missing_keys"]) - mismatched.keys()):
        fix = "Fetch the model again; a headless or partial checkpoint cannot generate."
        faults.append(ModelError(f"tensor '{name}' is missing from the weights", where=where, fix=fix))
    for name, (stored, own) in sorted(mismatched.items()):
        fix = "Use the config.json that belongs to these weights."
        faults.append(ModelError(f"tensor '{name}' has shape {stored}, the model has {own}", where=where, fix=fix))
    if refuse_foreign:
        for name in sorted(info["unexpected_keys"]):
            faults.append(ModelError(f"tensor '{name}' belongs to nothing in this model", where=where))
    return faults


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep ``transformers`` from printing progress and the report that is turned into errors here."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # ours is the only progress that is shown
    verbosity = logging.get_verbosity()
    logging.set_verbosity(levels.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def first_line(fault: BaseException) -> str:
    """Return the first line of an exception's message, or its class where it has none."""
    return str(fault).strip().splitlines()[0] if str(fault).strip() else type(fault).__name__
