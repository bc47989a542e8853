"""The C library's memory allocator, set for training on a CPU.

Every step frees and allocates the same large tensors. By default glibc returns them to the system each time and gets
them again, page by page, filled with zeros: a quarter of a training step of a 135M Llama. Set to keep freed memory, it
allocates from that instead. Nothing that is computed changes.
"""

from __future__ import annotations

import ctypes
import platform

# malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Keep freed memory in the process, for the rest of its life; return whether the C library can be set so."""
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))


def give_back_freed_memory() -> None:
    """Return freed memory to the system, where the C library can; what is needed again is had from it anew.

    Training and answering free tensors of other sizes, between which little fits: kept side by side, they add up.
    """
    if platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
