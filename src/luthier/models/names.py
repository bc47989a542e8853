"""What a model can be called: ``mini``, a folder, a GGUF file, or an id of the hub. Nothing of a model is read here."""

from __future__ import annotations

from pathlib import Path

from luthier.errors import ModelError
from luthier.user_path import user_path

EMBEDDED = {"mini": Path(__file__).parent / "mini"}
GGUF = ".gguf"


def require_model(name: str) -> None:
    """Check that a model of this name lies here, or that the hub may have one.

    Raises:
        ModelError: When the name is a path at which there is none.
    """
    path = user_path(name)
    if name in EMBEDDED or path.is_dir() or (path.suffix == GGUF and path.is_file()):
        return
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(
            f"no model folder '{name}'",
            fix="Give a folder, a .gguf file, or an id such as owner/name.",
        )
