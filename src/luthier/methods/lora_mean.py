"""The mean of several LoRA adapters, exactly, as one of them: its rank is the sum of theirs.

``Σ wᵢ·s·BᵢAᵢ = s·[w₁B₁ … wₙBₙ]·[A₁; …; Aₙ]``: the factors are laid side by side, and weights are put into B.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from luthier.methods.base import read_tensors
from luthier.methods.peft_files import CONFIG, WEIGHTS, read_config

_INPUT_SIDE, _OUTPUT_SIDE = ("lora_A.", "lora_embedding_A"), ("lora_B.", "lora_embedding_B")


def is_exact(folders: Sequence[Path]) -> bool:
    """Whether the mean of adapters can be an adapter: plain LoRA, whose update is a product of two factors."""
    return all(_is_plain(folder) for folder in folders)


def _is_plain(folder: Path) -> bool:
    if not (folder / CONFIG).is_file():
        return False
    config = read_config(folder)
    plain = config.get("peft_type") == "LORA" and not any(
        config.get(key) for key in ("use_dora", "lora_bias", "modules_to_save", "trainable_token_indices", "use_qalora")
    )
    starts_beside = config.get("init_lora_weights", True) in (True, False, "gaussian", "orthogonal")
    return plain and starts_beside and config.get("bias", "none") == "none" and all(map(_side, _names(folder)))


def _names(folder: Path) -> list[str]:
    return list(read_tensors(folder / WEIGHTS))


def _side(name: str) -> str:
    """Return ``"in"``, ``"out"``, or "" for a tensor that is no factor."""
    return "in" if any(part in name for part in _INPUT_SIDE) else "out" if any(p in name for p in _OUTPUT_SIDE) else ""


def write_mean(folders: Sequence[Path], factors: Sequence[float], out: Path) -> None:
    """Write the sum of adapters, each times its factor, in PEFT's layout.

    With one adapter and the factor 1 the tensors are those of the adapter, bit for bit.

    Args:
        folders: Of adapters for which :func:`is_exact` holds, of one rank.
        factors: One of each.
        out: Folder that exists.
    """
    stored = [read_tensors(folder / WEIGHTS) for folder in folders]
    tensors = {name: _joined(name, [own[name] for own in stored], factors) for name in stored[0]}
    save_file(tensors, out / WEIGHTS, metadata={"format": "pt"})
    config = _wider(read_config(folders[0]), len(folders))
    (out / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _joined(name: str, parts: Sequence[Tensor], factors: Sequence[float]) -> Tensor:
    # The rank is the first axis of A and the second of B; an embedding's factors lie the same way.
    if _side(name) == "in":
        return torch.cat(list(parts), dim=0).contiguous()
    return torch.cat([part * factor for part, factor in zip(parts, factors, strict=True)], dim=1).contiguous()


def _wider(config: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Return a configuration of ``count`` times the rank, with the same scale of the update."""
    # s = alpha / r stays where alpha grows with r; s = alpha / sqrt(r) where it grows with the root.
    growth = math.sqrt(count) if config.get("use_rslora") else count
    ranks = {name: rank * count for name, rank in (config.get("rank_pattern") or {}).items()}
    alphas = {name: alpha * growth for name, alpha in (config.get("alpha_pattern") or {}).items()}
    wider = {"r": config["r"] * count, "lora_alpha": config["lora_alpha"] * growth}
    return {**config, **wider, "rank_pattern": ranks, "alpha_pattern": alphas}
