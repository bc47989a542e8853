"""Matrix products in float32 by oneDNN, on processors whose width torch leaves unused.

torch multiplies float32 matrices by MKL, which has kernels of 512 bits for Intel's processors alone. oneDNN, the other
library that comes with torch, has them for every processor that can run them: on some it multiplies twice as fast, in
the same precision, on others no faster (:mod:`luthier.kernels.probe` measures which). Inside
:func:`multiplying_by_onednn`, ``aten::mm``, ``aten::addmm`` and ``aten::bmm``, to which every linear layer, attention
and their gradients are reduced, are computed by oneDNN. Outside they are torch's own, bit for bit.

torch's own switch turns it off: ``with torch.backends.mkldnn.flags(enabled=False):``.
"""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
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


_inside: ContextVar[bool] = ContextVar("multiplying by oneDNN", default=False)


@contextlib.contextmanager
def multiplying_by_onednn() -> Iterator[None]:
    """Compute products of float32 matrices on the CPU by oneDNN inside, in this thread; gradients too."""
    before = _inside.set(True)
    try:
        _override()
        yield
    finally:
        _inside.reset(before)


def has_onednn() -> bool:
    """Whether this torch comes with oneDNN."""
    found: bool = torch.backends.mkldnn.is_available()
    return found


def bound_kept_kernels() -> None:
    """Let torch and oneDNN keep fewer kernels. Both numbers are read at the first product; a user's own stay."""
    os.environ.setdefault("LRU_CACHE_CAPACITY", _LINEAR_KEPT)
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _KERNELS_KEPT)


@functools.cache
def _override() -> torch.library.Library:
    """Register the products once; they stay registered while the cache here holds the library."""
    bound_kept_kernels()
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*overrid")  # overriding is the purpose
        library.impl("mm", mm, "CPU")
        library.impl("addmm", addmm, "CPU")
        library.impl("bmm", bmm if _keeps_float32() else folded_bmm, "CPU")
    return library


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
    processors with bf16 units. :func:`multiplying_by_onednn` verifies first that this processor does not round.
    """
    if _is_one_product(first, second):
        return folded_bmm(first, second)
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


def folded_bmm(first: Tensor, second: Tensor) -> Tensor:
    """Products with one and the same matrix as a single product, all others by torch.

    torch folds a linear layer's product or not by whether its weight asks for a gradient. The bits must not depend on
    that: a base is the same before a method was on it and after.
    """
    if _is_one_product(first, second):
        found: Tensor = mm(first.flatten(0, 1), second[0]).view(*first.shape[:2], second.shape[-1])
        return found
    return torch.bmm(first, second, out=first.new_empty(*first.shape[:2], second.shape[-1]))


def _is_one_product(first: Tensor, second: Tensor) -> bool:
    return _inside.get() and first.shape[0] > 0 and (first.shape[0] == 1 or second.stride(0) == 0)


def _is_for_onednn(first: Tensor, second: Tensor, *, axes: int = 2) -> bool:
    return (
        _inside.get()
        and first.dtype is torch.float32
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
