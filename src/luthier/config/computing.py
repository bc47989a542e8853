"""Settings: where a model computes, how precisely, and with which kernels."""

from __future__ import annotations

from typing import Literal, TypeAlias

from luthier.config.base import DeviceSettings, Settings

Precision: TypeAlias = Literal["auto", "float32", "bf16"]
"""Of matrix products."""


class KernelsConfig(Settings):
    """Which kernels compute on a CPU; ``auto`` is measured once on this processor, and kept in Luthier's cache."""

    matmul: Literal["auto", "torch", "onednn"] = "auto"
    """The library of float32 products: the one that torch chooses (MKL), or oneDNN."""
    attention: Literal["auto", "pieces", "fused"] = "auto"
    """How examples attend that are laid end to end: in pieces that fit the cache, or by torch's fused kernel."""


class ComputingSettings(DeviceSettings):
    """Where and how precisely the model computes."""

    precision: Precision = "auto"
    """The precision of matrix products, in training and in evaluation; weights stay float32. ``auto`` is bf16 on CUDA
    and float32 on a CPU."""
    kernels: KernelsConfig = KernelsConfig()
    """Which kernels compute on a CPU."""
