"""Whether the base that an adapter names is the model at hand: by the whole name, hub id or folder."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

from luthier.user_path import user_path


def is_same_base(stated: str, name: str, folder: Path) -> bool:
    """Compare what an adapter calls its base with a model.

    The last part of a name alone says nothing: ``owner/base`` and ``other/base`` are two models, and folders of many
    models are called ``model`` or ``checkpoint-500``.

    Args:
        stated: ``base_model_name_or_path`` of the adapter: an id on the hub, or a folder on whatever machine.
        name: What the user called the model.
        folder: Where the model's files are.

    Returns:
        Whether both are the same text, the same folder, or the same id on the hub: as it is written (ids differ in
        more than case), as the hub's cache spells it, or as the last two parts of a folder (``models/owner/name``).
    """
    if not stated:
        return False
    if stated == name or _is_folder(stated, folder):
        return True
    mine = {_id(name), _id_in_cache(folder), _id_of_folder(name), _id_of_folder(str(folder))} - {""}
    theirs = {_id(stated), _id_of_folder(stated)} - {""}
    # Two folders that end alike may hold anything: one of the two must be an id.
    named = {_id(name), _id_in_cache(folder), _id(stated)} - {""}
    return bool(mine & theirs & named)


def _is_folder(stated: str, folder: Path) -> bool:
    try:
        path = user_path(stated)
        return path.is_dir() and path.samefile(folder)
    except (OSError, ValueError):
        return False


def _parts(name: str) -> tuple[str, ...]:
    """The parts of a path of any system."""
    return PureWindowsPath(name).parts


def _id(name: str) -> str:
    """An id on the hub, in lower case; "" for what is none."""
    parts = _parts(name)
    plain = len(parts) == 2 and not name.startswith((".", "~", "/", "\\")) and ":" not in name
    return "/".join(parts).casefold() if plain and not Path(name).is_dir() else ""


def _id_of_folder(name: str) -> str:
    """The last two parts of a folder, as an id would be spelled."""
    parts = _parts(name.rstrip("/\\"))
    return "/".join(parts[-2:]).casefold() if len(parts) > 1 else ""


def _id_in_cache(folder: Path) -> str:
    """The id whose snapshot in the hub's cache a folder is; "" for any other folder."""
    for part in folder.parts:
        if part.startswith("models--"):
            return part.removeprefix("models--").replace("--", "/").casefold()
    return ""
