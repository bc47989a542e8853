"""What a stranger's model folder must be before other libraries read it: plain files, and sizes that can be meant.

What ``transformers`` checks of a configuration differs from key to key, and it builds whatever it is told to: a model
of no layers, or one of a billion. So the keys that decide the size are checked here, against the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from luthier.errors import LuthierError, ModelError, listed, raise_faults
from luthier.files.json_object import read_object, require_plain_files, short

_WIDTHS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "head_dim",
    "n_embd",
    "d_model",
    "d_ff",
    "d_kv",
    "ffn_dim",
    "word_embed_proj_dim",
    "encoder_ffn_dim",
    "decoder_ffn_dim",
)
"""Each is a side of some tensor."""
_LAYERS = (
    "num_hidden_layers",
    "n_layer",
    "num_layers",
    "num_decoder_layers",
    "encoder_layers",
    "decoder_layers",
)
"""Each layer has a tensor at least."""
_HEADS = (
    "num_attention_heads",
    "num_key_value_heads",
    "n_head",
    "num_heads",
    "encoder_attention_heads",
    "decoder_attention_heads",
)
_POSITIONS = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
)
_MOST_POSITIONS = 2**26
_ORDINARY = 4096
# Tables of positions that are computed, not stored.
_SPARE = 2**24
_TOKENS = (
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
)
_FIX = "Fetch config.json again; it must be the one that belongs to these weights."


def check_folder(folder: Path) -> dict[str, Any]:
    """Check a model folder's files and the types of its configuration, and return ``config.json``.

    Raises:
        ModelError: For everything that is wrong with them: what is no plain file, damaged JSON, values of another type
            than any model has, and weights that are quantised.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(
            "no config.json in the model folder", where=str(folder), fix="Give the folder of a whole model."
        )
    require_plain_files(folder)
    config = read_object(path, fix="Correct config.json.")
    _refuse_quantised(folder, config)
    raise_faults(f"{path} cannot be used", list(_wrong_values(config, str(path))))
    return config


def check_sizes(config: dict[str, Any], shapes: dict[str, tuple[int, ...]], *, where: str) -> None:
    """Check that a configuration asks for nothing that is larger than anything in the weights.

    Args:
        config: ``config.json``, whose types are right.
        shapes: Of all tensors by name; nothing is checked where there are none.
        where: The file.

    Raises:
        ModelError: For every key that does.
    """
    if not shapes:
        return
    widest = max((side for shape in shapes.values() for side in shape), default=0)
    faults: list[LuthierError] = []
    for name, value in _values(config):
        key = name.rsplit(".", 1)[-1]
        for number in value if isinstance(value, list) else [value]:
            if key in (*_WIDTHS, *_HEADS) and number is not None and number > widest:
                what = f"{name} is {number}, and no tensor in the weights has a side above {widest}"
                faults.append(ModelError(what, where=where, fix=_FIX))
            elif key in _LAYERS and number is not None and number > len(shapes):
                what = f"{name} is {number}, and the weights have only {len(shapes)} tensors"
                faults.append(ModelError(what, where=where, fix=_FIX))
    raise_faults(f"{where} cannot be used", faults)


def check_total(
    config: dict[str, Any], shapes: dict[str, tuple[int, ...]], build: Callable[[], nn.Module], *, where: str
) -> None:
    """Check that the model is not many times larger than the weights: what is missing there would be allocated.

    Args:
        config: ``config.json``.
        shapes: Of all tensors by name; nothing is checked where there are none.
        build: Makes the module. It is made without memory, and only where a number is larger than any tensor's side.
        where: The file.

    Raises:
        ModelError: When it is.
    """
    widest = max((side for shape in shapes.values() for side in shape), default=0)
    if not shapes or not any(number > max(widest, _ORDINARY) for number in _whole_numbers(config)):
        return
    with torch.device("meta"):
        module = build()
    total = sum(tensor.numel() for tensor in (*module.parameters(), *module.buffers()))
    held = sum(math.prod(shape) for shape in shapes.values())
    if total > 4 * held + _SPARE:
        what = f"the configuration describes a model of {total:,} numbers, and the weights hold {held:,}"
        raise ModelError(what, where=where, fix=_FIX)


def _whole_numbers(value: Any) -> Iterator[int]:
    if isinstance(value, int):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _whole_numbers(item)


def _refuse_quantised(folder: Path, config: dict[str, Any]) -> None:
    """Say that quantised weights are not read: to fetch the model again would not help."""
    stated = config.get("quantization_config") or config.get("compression_config")
    beside = [name for name in ("quantize_config.json", "quant_config.json") if (folder / name).is_file()]
    if not stated and not beside:
        return
    method = stated.get("quant_method") if isinstance(stated, dict) else None
    if method is None and isinstance(stated, dict) and any(key.startswith("load_in_") for key in stated):
        method = "bitsandbytes"
    named = f" ({method or listed(beside) or 'quantization_config'})"
    raise ModelError(
        f"the weights are quantised{named}, and quantised weights are not read",
        where=str(folder),
        fix="Use the model that it was made from, in its full precision; or a GGUF file of it.",
    )


def _wrong_values(config: dict[str, Any], where: str) -> Iterator[LuthierError]:
    for name, value in _values(config):
        key = name.rsplit(".", 1)[-1]
        least = None if key in _TOKENS else 1
        for number in value if isinstance(value, list) else [value]:
            if number is None:
                continue
            if isinstance(number, bool) or not isinstance(number, int):
                what = f"{name} is {short(value)}, which is no whole number"
            elif least is not None and number < least:
                what = f"{name} is {number}, and must be at least {least}"
            elif key in _POSITIONS and number > _MOST_POSITIONS:
                what = f"{name} is {number}, more positions than any model has"
            else:
                continue
            yield ModelError(what, where=where, fix=_FIX)
            break


def _values(config: dict[str, Any], inside: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the keys that are checked, of a configuration and of those inside it."""
    for key, value in config.items():
        if isinstance(value, dict) and key.endswith(("_config", "encoder", "decoder")) and not inside.count("."):
            yield from _values(value, f"{inside}{key}.")
        elif key in (*_WIDTHS, *_LAYERS, *_HEADS, *_POSITIONS, *_TOKENS):
            yield f"{inside}{key}", value
