"""The files of an adapter in PEFT's layout: the same bytes every time, and a configuration that is read strictly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from luthier.errors import ModelError
from luthier.files.json_object import read_object
from luthier.methods.peft_config import without_warnings
from luthier.models.language_model import LanguageModel

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def save_peft(wrapped: Any, model: LanguageModel, folder: Path) -> None:
    """Write an adapter in PEFT's layout, with the base named as the user named it and the same bytes every time."""
    for config in wrapped.peft_config.values():
        # PEFT puts the folder of the base there, which means nothing elsewhere.
        config.base_model_name_or_path = model.name
    with without_warnings():
        wrapped.save_pretrained(folder, save_embedding_layers=False)
    _sort_names(folder / CONFIG)
    # PEFT's model card is an empty form, and holds the folder of the base too.
    (folder / "README.md").unlink(missing_ok=True)


def read_config(folder: Path) -> dict[str, Any]:
    """Read ``adapter_config.json``.

    Raises:
        ModelError: When it is missing or is not a JSON object.
    """
    path = folder / CONFIG
    if not path.exists():
        raise ModelError(f"no {CONFIG}", where=str(folder), fix="Give the folder of an adapter.")
    return read_object(path, fix="Fetch or train it again.")


def target_modules(folder: Path) -> tuple[str, ...]:
    """Return the names of the modules that an adapter changes, without their blocks; empty where it names none."""
    if not (folder / CONFIG).is_file():
        return ()
    named = read_config(folder).get("target_modules")
    if isinstance(named, str):
        return (named,)
    return tuple(sorted({str(name).rpartition(".")[2] for name in named})) if isinstance(named, list) else ()


def _sort_names(path: Path) -> None:
    """PEFT writes sets in an order that differs from process to process; the same adapter must be the same bytes."""
    config = json.loads(path.read_text(encoding="utf-8"))
    for key in ("target_modules", "modules_to_save", "feedforward_modules", "exclude_modules"):
        if isinstance(config.get(key), list):
            config[key] = sorted(config[key])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
