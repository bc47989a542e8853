"""A JSON object in a file of a model folder, read within bounds: a configuration, or an index of weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from luthier.errors import LuthierError, ModelError, collecting, raise_faults
from luthier.files.foreign import reason

_READ = {".json", ".safetensors", ".model", ".jinja"}
# The index of a model with a million tensors is below this.
_LARGEST = 256 * 2**20
_QUOTED = 60


def read_object(path: Path, *, fix: str) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Args:
        path: The file.
        fix: What the user can do if it is damaged.

    Raises:
        ModelError: When it is no regular file, is larger than any configuration, is not JSON, or is no object.
    """
    require_regular(path)
    if path.stat().st_size > _LARGEST:
        raise ModelError(f"larger than {_LARGEST // 2**20} MiB, which no configuration is", where=str(path), fix=fix)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as fault:
        raise ModelError(f"not JSON: {reason(fault)}", where=str(path), fix=fix) from None
    if not isinstance(found, dict):
        raise ModelError("not a JSON object", where=str(path), fix=fix)
    return found


def short(value: object) -> str:
    """Return a value of a file as a message quotes it: its beginning, where it is long."""
    text = repr(value)
    return text if len(text) <= _QUOTED else text[:_QUOTED] + "…"


def require_plain_files(folder: Path) -> None:
    """Check that what a model or adapter folder holds under the names that are read are files: see below.

    Raises:
        ModelError: For each entry that is none.
    """
    faults: list[LuthierError] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix in _READ:
            with collecting(faults):
                require_regular(path)
    raise_faults(f"{folder} cannot be read", faults)


def require_regular(path: Path) -> None:
    """Check that a path is a file with contents, at the end of its links: to open a pipe would wait for ever.

    Raises:
        ModelError: When it is a folder, a pipe or a device, or a link to nothing.
    """
    if path.is_file():
        return
    if path.is_symlink() and not path.exists():
        what = f"a link to {path.readlink()}, which is not there"
    else:
        what = "a folder" if path.is_dir() else "a pipe or a device" if path.exists() else "not there"
    raise ModelError(f"{what}; a file is needed", where=str(path), fix="Fetch the folder again, whole.")
