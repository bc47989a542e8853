"""What the last bits of a training depend on besides its data and settings: where it is computed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from luthier.models.language_model import LanguageModel


@dataclass(frozen=True, slots=True)
class ComputeSettings:
    """Where something is computed.

    Attributes:
        device: Type of the device: ``cpu``, ``cuda`` …
        dtype: Type of the model's weights.
        products: Type of matrix products.
        kernels: What computes them, and attention.
        threads: Threads of torch on a CPU, whose number changes the last bits of sums; 0 on an accelerator.
    """

    device: str
    dtype: str
    products: str
    kernels: tuple[str, ...]
    threads: int

    @classmethod
    def of(cls, model: LanguageModel) -> ComputeSettings:
        """Describe how a model computes now."""
        on_cpu = model.device.type == "cpu"
        threads = torch.get_num_threads() if on_cpu else 0
        return cls(model.device.type, str(model.module.dtype), model.product_type, model.kernels.key_inputs(), threads)

    def key_inputs(self) -> dict[str, Any]:
        """Return the record as JSON can hold it."""
        return asdict(self)
