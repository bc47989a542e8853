"""Running out of memory or of room on a disk, recognised in whatever way a library reports it."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from luthier.errors import ResourceError

_NO_MEMORY = (
    "cannot allocate memory",
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "std::bad_alloc",
    "bad allocation",
    "failed to map segment from shared object",
    "can't start new thread",
    "unable to allocate",
    "could not create a primitive",
    "could not create a memory",
)
"""In the messages of torch, numpy, the dynamic loader, safetensors, the C++ library and oneDNN, in lower case."""
_NO_ROOM = ("no space left on device", "disk quota exceeded", "not enough space on the disk")
_DEEPEST = 8


def exhausted(fault: BaseException) -> ResourceError | None:
    """Return what the machine ran out of, where that is the reason of an exception; None for every other exception."""
    for reason in _reasons(fault):
        if _is_about_memory(reason):
            return ResourceError(
                "memory ran out",
                # Written out: that the settings are loaded for a message needs memory, too.
                fix="Use fewer --workers, smaller passes (--set training.micro_tokens=2048, --set "
                "evaluation.batch_tokens=2048), --set training.activation_checkpointing=true, or a smaller model; what "
                "is finished is kept.",
            )
        if _is_about_room(reason):
            where = str(getattr(reason, "filename", None) or "")
            fix = "Free some, or choose another place (--runs, --save, --out); what is finished is kept."
            return ResourceError("no room is left on the disk", where=where, fix=fix)
    return None


def memory_ran_out(fault: BaseException) -> bool:
    """Whether memory ran out, of the machine or of a device, is the reason of an exception."""
    return any(_is_about_memory(reason) for reason in _reasons(fault))


def _reasons(fault: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what it was raised from."""
    reason: BaseException | None = fault
    for _ in range(_DEEPEST):
        if reason is None:
            return
        yield reason
        reason = reason.__cause__ or reason.__context__


def _is_about_memory(fault: BaseException) -> bool:
    # torch is not imported for its class of errors: it may be what could not be loaded.
    named = isinstance(fault, MemoryError) or type(fault).__name__ == "OutOfMemoryError"
    return named or getattr(fault, "errno", None) == errno.ENOMEM or _says(fault, _NO_MEMORY)


def _is_about_room(fault: BaseException) -> bool:
    return getattr(fault, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or _says(fault, _NO_ROOM)


def _says(fault: BaseException, phrases: tuple[str, ...]) -> bool:
    if not isinstance(fault, RuntimeError | OSError | ImportError | ValueError | SystemError) and not _is_native(fault):
        return False
    text = str(fault).lower()
    return any(phrase in text for phrase in phrases)


def _is_native(fault: BaseException) -> bool:
    """Whether an exception's class comes from a compiled library."""
    return type(fault).__module__.split(".")[0] in ("safetensors_rust", "pyarrow", "torch", "builtins")
