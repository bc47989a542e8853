"""Verified capabilities, kept in Luthier's cache by weights and code: a model is verified once, not at every start.

Only what was found to agree is kept, and only of a model without an adapter, whose weights its digest names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path

import torch

from luthier.errors import StoreError
from luthier.files.atomic import write_atomically
from luthier.files.code_digest import code_digest
from luthier.files.digests import digest
from luthier.models.language_model import LanguageModel
from luthier.user_path import cache_root

FAST = ("tree", "encoder_once")
"""The capabilities one of which every model has that was verified without a failure."""
_LEAST = 2**24
"""Weights below which verifying takes no time worth keeping: tests verify every time."""


def kept_or_verified(
    model: LanguageModel, names: Collection[str], verify: Callable[[], dict[str, bool]]
) -> dict[str, bool]:
    """Return the capabilities that were verified before for the same weights, code and kernels, or verify them now.

    Args:
        model: As it stands.
        names: Of the capabilities; a file with others is made again.
        verify: Verifies them: whether each is there.
    """
    if not _is_base(model):
        return verify()
    path = cache_root() / "capabilities" / f"{digest(_inputs(model))}.json"
    kept = _read(path)
    if kept is not None and kept.keys() == set(names):
        return kept
    found = verify()
    if any(found[name] for name in FAST):
        _keep(path, found)
    return found


def _read(path: Path) -> dict[str, bool] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and all(isinstance(one, bool) for one in content.values()) else None


def _is_base(model: LanguageModel) -> bool:
    """Whether the model stands as its files have it, and is large enough for this."""
    modules = list(model.module.modules())
    own = all(type(part).__module__.partition(".")[0] not in ("peft", "luthier") for part in modules)
    return own and model.soft_prompt is None and sum(one.numel() for one in model.module.parameters()) >= _LEAST


def _inputs(model: LanguageModel) -> dict[str, object]:
    """Everything that the outcome depends on."""
    on_cpu = model.device.type == "cpu"
    return {
        "model": model.digest,
        "classes": [f"{type(part).__module__}.{type(part).__qualname__}" for part in model.module.modules()],
        "code": code_digest(("luthier.inference.capabilities",)),
        "torch": torch.__version__,
        "device": torch.backends.cpu.get_cpu_capability() if on_cpu else torch.cuda.get_device_name(model.device),
        "dtype": str(model.module.dtype),
        "kernels": model.kernels.key_inputs(),
    }


def _keep(path: Path, found: dict[str, bool]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(found, indent=2) + "\n")
    except (OSError, StoreError):  # it is verified again next time
        return
