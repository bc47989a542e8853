"""Matrix products in float32 on processors whose width torch leaves unused.

torch multiplies float32 matrices by MKL, which has kernels of 512 bits for Intel's processors alone. oneDNN, the other
library that comes with torch, has them for every processor that can run them: where that is another maker's, it
multiplies twice as fast, in the same precision. So ``aten::mm``, ``aten::addmm`` and ``aten::bmm``, to which every
linear layer, attention and their gradients are reduced, are computed by oneDNN there, in the whole process.

torch's own switch turns it off: ``with torch.backends.mkldnn.flags(enabled=False):``.
"""

from __future__ import annotations

import functools
import os
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_WORTH = 2**21
"""Multiplications of a product from which on oneDNN is faster, its own overhead included."""
_ROWS = 4
"""Rows of each matrix of a batched product from which on oneDNN is faster."""
_LINEAR_KEPT = "16"
"""Shapes of products for which torch keeps its preparation: those of one block, forward and backward. Every batch has
other shapes; the default of a thousand takes more memory than the model."""
_KERNELS_KEPT = "64"
"""Shapes of products for which oneDNN keeps its kernel: those of attention as well."""


def multiply_by_onednn(*, always: bool = False) -> bool:
    """Compute products of float32 matrices on the CPU by oneDNN, for the rest of the process.

    Args:
        always: Also where MKL is likely to be as fast.

    Returns:
        Whether oneDNN computes them now.
    """
    onednn: bool = torch.backends.mkldnn.is_available()
    if not (onednn and (always or _is_narrow_in_mkl())):
        return False
    return _override() is not None


@functools.cache
def _override() -> torch.library.Library:
    """Register the products once; they stay registered while the cache here holds the library."""
    # Both are read at the first product; values that the user has set stay.
    os.environ.setdefault("LRU_CACHE_CAPACITY", _LINEAR_KEPT)
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _KERNELS_KEPT)
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*overrid")  # overriding is the purpose
        library.impl("mm", mm, "CPU")
        library.impl("addmm", addmm, "CPU")
        if _keeps_float32():
            library.impl("bmm", bmm, "CPU")
    return library


def _is_narrow_in_mkl() -> bool:
    """Whether this processor has registers of 512 bits and is not made by Intel."""
    mkl: bool = torch.backends.mkl.is_available()
    if not mkl or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    cpu_info = Path("/proc/cpuinfo")
    maker = re.search(r"^vendor_id\s*:\s*(\S+)", cpu_info.read_text(), re.MULTILINE) if cpu_info.exists() else None
    return maker is not None and maker[1] != "GenuineIntel"


def _keeps_float32() -> bool:
    """Whether batched products, as :func:`bmm` requests them, keep float32; torch can request them since 2.9."""
    if not hasattr(torch.backends.mkldnn, "matmul"):
        return False
    little = torch.full((4, 128, 128), 1 + 2**-12)  # one, if it were rounded to bf16
    with torch.backends.mkldnn.flags(enabled=True, allow_tf32=None):
        return bool((bmm(little, torch.eye(128).expand(4, -1, -1)) == little).all())


def mm(first: Tensor, second: Tensor) -> Tensor:
    """``first @ second``: ``(n, k)``, ``(k, m)`` → ``(n, m)``."""
    if _is_for_onednn(first, second):
        return _multiply(first, second, None)
    return torch.mm(first, second, out=_empty(first, second))


def addmm(addend: Tensor, first: Tensor, second: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta * addend + alpha * first @ second``; oneDNN adds a bias, ``(m,)``."""
    bias = addend.shape == second.shape[1:] and addend.dtype == first.dtype and addend.is_contiguous()
    if bias and beta == 1 and alpha == 1 and _is_for_onednn(first, second):
        return _multiply(first, second, addend)
    return torch.addmm(addend, first, second, beta=beta, alpha=alpha, out=_empty(first, second))


def bmm(first: Tensor, second: Tensor) -> Tensor:
    """``first @ second``: ``(b, n, k)``, ``(b, k, m)`` → ``(b, n, m)``.

    torch uses oneDNN for them only where rounding to bf16 is allowed, and oneDNN rounds where that is faster: on
    processors with bf16 units. :func:`multiply_by_onednn` verifies first that this processor does not round.
    """
    found = first.new_empty(*first.shape[:2], second.shape[-1])
    if first.shape[1] < _ROWS or not _is_for_onednn(first, second, axes=3):
        return torch.bmm(first, second, out=found)
    products: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = products.fp32_precision
    products.fp32_precision = "bf16"
    try:
        return torch.bmm(first, second, out=found)
    finally:
        products.fp32_precision = before


def _is_for_onednn(first: Tensor, second: Tensor, *, axes: int = 2) -> bool:
    return (
        first.dtype is torch.float32
        and second.dtype is torch.float32
        and first.ndim == second.ndim == axes
        and first.shape[-1] == second.shape[-2]
        and first.numel() * second.shape[-1] >= _WORTH
        and torch._C._get_mkldnn_enabled()
    )


def _multiply(first: Tensor, second: Tensor, bias: Tensor | None) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise.default(first, second.t(), bias, "none", [], "")
    return found


def _empty(first: Tensor, second: Tensor) -> Tensor:
    return first.new_empty(first.shape[0], second.shape[-1])
