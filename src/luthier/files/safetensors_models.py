"""Model folders in the Hugging Face layout: which weight files are read, and a module loaded from them strictly.

Language models and the models of metrics are both loaded here. Only safetensors are read, and what ``transformers``
only warns of is an error: it draws tensors that are missing or of another shape at random, and a model that is partly
random looks like a model that learned badly.

torch and transformers are imported when a module is loaded: what reads finished results imports this module too.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from luthier.errors import LuthierError, ModelError, raise_faults
from luthier.files.foreign import reason
from luthier.files.json_object import read_object

if TYPE_CHECKING:
    import torch

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_MISMATCH = "Fetch the model again, with the config.json that belongs to its weights."
_REFETCH = "Fetch the model again, whole; or mend the index so that it names *.safetensors files inside the folder."


def weight_files(folder: Path) -> list[Path]:
    """Return the weight files that are read from a folder, sorted: one file, or all files that an index names.

    ``transformers`` reads what ``transformers_weights`` in ``config.json`` names, or else ``model.safetensors``, or
    else the files that ``model.safetensors.index.json`` names, which may lie in subfolders. Empty where there is none
    of them.

    Raises:
        ModelError: When an index is damaged, or names a file that is outside the folder, is missing or is not
            safetensors; all such entries are listed.
    """
    stated = _stated_weights(folder)
    if stated is None:
        if (folder / WEIGHTS).is_file():
            return [folder / WEIGHTS]
        return _indexed(folder, INDEX) if (folder / INDEX).is_file() else []
    fault = _fault_of_entry(folder, stated, suffixes=(".safetensors", ".safetensors.index.json"))
    if fault:
        raise ModelError(
            f"'transformers_weights' names '{stated}', which {fault}",
            where=str(folder / "config.json"),
            fix="Name a *.safetensors file inside the folder, or remove the key.",
        )
    return [folder / stated] if stated.endswith(".safetensors") else _indexed(folder, stated)


def read_module(
    reader: Any,
    source: Path | str,
    *,
    dtype: torch.dtype,
    revision: str = "main",
    trust_remote_code: bool = False,
    refuse_foreign: bool = False,
    unused: tuple[str, ...] = (),
) -> Any:
    """Load a module with its weights.

    Args:
        reader: An ``AutoModel…`` class, or the class of the module.
        source: A folder with ``config.json`` and safetensors; or an id on the hub.
        dtype: Of the weights in memory.
        revision: Branch, tag or commit of an id on the hub.
        trust_remote_code: Run Python code that comes with the model.
        refuse_foreign: Refuse tensors that the module has no place for. Published checkpoints often hold a few.
        unused: Beginnings of names of tensors that the caller never computes with: these alone may be missing.

    Raises:
        ModelError: When the weights are damaged, missing, foreign or of another shape; all tensors are listed.
    """
    if isinstance(source, Path):
        weight_files(source)
    try:
        with _quiet():
            module, info = reader.from_pretrained(
                source,
                dtype=dtype,
                revision=revision,
                use_safetensors=True,
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # so that all of them are known, not only the first
            )
    except Exception as error:  # damaged safetensors and foreign architectures raise many classes
        raise ModelError(f"the weights cannot be loaded: {reason(error)}", where=str(source), fix=_MISMATCH) from None
    faults = _misfits(info, str(source), refuse_foreign, unused)
    raise_faults(f"the weights in {source} do not fit the model", faults)
    fix = "Fetch the model again, or train it again at a lower learning rate."
    faults = [
        ModelError(f"tensor '{name}' has numbers that are not finite", where=str(source), fix=fix)
        for name, weight in module.named_parameters()
        if not all_finite(weight)
    ]
    raise_faults(f"the weights in {source} cannot be used", faults)
    return module


def all_finite(tensor: torch.Tensor) -> bool:
    """Say whether a tensor has no NaN and no infinity; without a second tensor of its size where it has none."""
    import torch

    if not tensor.is_floating_point():
        return True
    tensor = tensor.detach()
    total = tensor.float().sum() if tensor.element_size() == 1 else tensor.sum(dtype=torch.float32)
    return bool(total.isfinite()) or bool(tensor.isfinite().all())


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all tensors in a folder's weights; none of a damaged file, which loading it will name."""
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for path in weight_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):
            return {}
    return shapes


def _stated_weights(folder: Path) -> str | None:
    """The weight file or index that ``config.json`` names, if it names one; a damaged file is refused elsewhere."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    stated = config.get("transformers_weights") if isinstance(config, dict) else None
    return None if stated is None else str(stated)


def _indexed(folder: Path, index: str) -> list[Path]:
    """The files that an index names; each of its faults is an error that names the tensor."""
    path = folder / index
    try:
        entries = read_object(path, fix=_REFETCH).get("weight_map")
        what = "" if isinstance(entries, dict) else "it has no weight_map"
    except ModelError as damaged:
        entries, what = None, damaged.what
    if not isinstance(entries, dict):
        raise ModelError(f"the index of weights is damaged: {what}", where=str(path), fix=_REFETCH)
    named = {str(tensor): entry for tensor, entry in entries.items()}
    faults: list[LuthierError] = []
    first_of: dict[str, str] = {}
    for tensor, entry in named.items():
        first_of.setdefault(str(entry), tensor)
    for entry, tensor in sorted(first_of.items()):
        fault = _fault_of_entry(folder, entry, suffixes=(".safetensors",))
        if fault:
            faults.append(
                ModelError(f"tensor '{tensor}' is in '{entry}', which {fault}", where=str(path), fix=_REFETCH)
            )
    raise_faults(f"{path} cannot be used", faults)
    return [folder / entry for entry in sorted(first_of)]


def _fault_of_entry(folder: Path, entry: str, *, suffixes: tuple[str, ...]) -> str:
    """What is wrong with a file name that a model folder states; "" where nothing is.

    Only the name decides whether it leaves the folder: files in the cache of the hub are links to its store of blobs.
    """
    posix, windows = PurePosixPath(entry), PureWindowsPath(entry)
    if posix.is_absolute() or windows.drive or windows.root or ".." in (*posix.parts, *windows.parts):
        return "is outside the model's folder"
    if not entry.endswith(suffixes):
        return "is not a safetensors file"
    return "" if (folder / entry).is_file() else "is missing"


def _misfits(info: dict[str, Any], where: str, refuse_foreign: bool, unused: tuple[str, ...]) -> list[LuthierError]:
    faults: list[LuthierError] = []
    mismatched = {name: (tuple(stored), tuple(own)) for name, stored, own in info["mismatched_keys"]}
    for name in sorted(set(info["missing_keys"]) - mismatched.keys()):
        if not name.startswith(unused):
            fix = "Fetch the model again; a headless or partial checkpoint cannot be used."
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
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
