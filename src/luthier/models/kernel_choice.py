"""Which kernels a model computes with on a CPU: measured once for its shapes on this processor, and kept.

The choice changes the last bits of numbers. So the first measurement decides for good: it is kept in Luthier's cache by
processor, torch version, threads and shapes, and every later process reads it there.
"""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import nn

from luthier.config.computing import KernelsConfig
from luthier.errors import StoreError
from luthier.files.atomic import write_atomically
from luthier.files.digests import digest
from luthier.kernels.onednn_matmul import has_onednn
from luthier.kernels.probe import Heads, Measured, measure
from luthier.user_path import cache_root

_LEAST = 2**14
"""Weights of the largest matrix below which nothing is measured: there both are the same, as in tests."""
_VERSION = 2
"""Of what is measured."""
_WORTH = 0.9
"""Share of the seconds of torch's own kernels below which others are taken: noise must not choose."""


@dataclass(frozen=True, slots=True)
class Kernels:
    """What a model computes with.

    Attributes:
        matmul: Library of float32 products on a CPU: ``torch`` (its own choice, MKL) or ``onednn``.
        attention: Of examples laid end to end, on a CPU: in ``pieces``, or ``fused`` (torch's).
        why: In words.
        bf16: Time of products in bf16 as a share of that in float32; None where it was not measured.
        packed: Whether answers are computed with copies of the weights in oneDNN's layout.
    """

    matmul: str = "torch"
    attention: str = "pieces"
    why: str = ""
    bf16: float | None = None
    packed: bool = False

    def key_inputs(self) -> tuple[str, ...]:
        """Return what changes the bits of numbers."""
        return (self.matmul, self.attention, *(("packed",) if self.packed else ()))


def choose_kernels(module: Any, config: KernelsConfig) -> Kernels:
    """Choose the kernels of a model that is on its device.

    Args:
        module: A Hugging Face model.
        config: What the user has chosen; the rest is measured.
    """
    if module.device.type != "cpu":
        return Kernels("torch", "fused", "an accelerator has its own")
    packed = config.matmul == "onednn" and has_onednn()
    given = Kernels(config.matmul, config.attention, "as the settings say", packed=packed)
    if "auto" not in given.key_inputs():
        return given
    shapes = _shapes(module)
    if not has_onednn() or max((a * b for a, b in shapes), default=0) < _LEAST:
        return _merged(given, Kernels(why="not measured: the model is small"))
    found = _measured(shapes, _heads(module))
    return _merged(given, _fastest(found) if found else Kernels(why="not measured: the cache cannot be written"))


def _merged(given: Kernels, measured: Kernels) -> Kernels:
    matmul = measured.matmul if given.matmul == "auto" else given.matmul
    attention = measured.attention if given.attention == "auto" else given.attention
    packed = measured.packed if given.matmul == "auto" else given.packed
    return Kernels(matmul, attention, measured.why, measured.bf16, packed)


def _fastest(found: Measured) -> Kernels:
    matmul = "onednn" if found.onednn < _WORTH * found.torch else "torch"
    words = [f"products by oneDNN take {found.onednn / found.torch:.2f} of MKL's time"]
    attention = "pieces"
    if found.pieces is not None and found.fused is not None:
        attention = "fused" if found.fused < _WORTH * found.pieces else "pieces"
        words.append(f"torch's fused attention {found.fused / found.pieces:.2f} of the time in pieces")
    words.append(f"products in bf16 {found.bf16:.2f} of those in float32")
    if found.packed is not None:
        words.append(f"answers with weights laid out for oneDNN {found.packed:.2f}")
    packed = found.packed is not None and found.packed < _WORTH
    return Kernels(matmul, attention, ", ".join(words), found.bf16, packed)


def _shapes(module: nn.Module) -> dict[tuple[int, int], int]:
    """The shapes ``(outputs, inputs)`` of linear layers, and how many there are of each."""
    parts: list[Any] = [part for part in module.modules() if isinstance(part, nn.Linear) or _is_conv1d(part)]
    return dict(Counter((int(part.weight.shape[0]), int(part.weight.shape[1])) for part in parts))


def _is_conv1d(part: nn.Module) -> bool:
    """GPT-2's linear layer, whose weight is transposed."""
    return type(part).__name__ == "Conv1D"


def _heads(module: Any) -> Heads | None:
    """The shape of a decoder's attention; None where it is not known, or has a trained bias, as T5's."""
    config = module.config.get_text_config()
    queries, width = getattr(config, "num_attention_heads", None), getattr(config, "hidden_size", None)
    if module.config.is_encoder_decoder or not queries or not width:
        return None
    keys, size = getattr(config, "num_key_value_heads", None), getattr(config, "head_dim", None)
    return Heads(queries, keys or queries, size or width // queries)


def _measured(shapes: Mapping[tuple[int, int], int], heads: Heads | None) -> Measured | None:
    """Read what was measured before, or measure and keep it; None where it cannot be kept, and so might change."""
    asked = {
        "version": _VERSION,
        "processor": processor_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "shapes": sorted([*shape, count] for shape, count in shapes.items()),
        "heads": asdict(heads) if heads else None,
    }
    path = cache_root() / "kernels" / f"{digest(asked)}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            return _read(path) or _keep(path, asked, measure(shapes, heads))
    except (OSError, StoreError):
        return None


def _read(path: Path) -> Measured | None:
    try:
        return Measured(**json.loads(path.read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(path: Path, asked: dict[str, Any], found: Measured) -> Measured:
    write_atomically(path, json.dumps(asked | {"seconds": asdict(found)}, indent=2) + "\n")
    return found


def processor_name() -> str:
    """Return the processor's name; Linux alone keeps it from Python."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
