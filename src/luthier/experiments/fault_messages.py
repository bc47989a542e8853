"""Faults of the user as JSON, so that a worker's fault is raised in the process that started it."""

from __future__ import annotations

from typing import Any

from luthier import errors
from luthier.errors import Faults, LuthierError


def fault_to_json(fault: LuthierError) -> dict[str, Any]:
    """Return a fault, with the faults that it holds, as JSON can hold it."""
    content: dict[str, Any] = {
        "class": type(fault).__name__,
        "what": fault.what,
        "where": fault.where,
        "fix": fault.fix,
    }
    if isinstance(fault, Faults):
        content["faults"] = [fault_to_json(item) for item in fault.faults]
    return content


def fault_from_json(content: dict[str, Any]) -> LuthierError:
    """Return the fault that :func:`fault_to_json` was given."""
    if "faults" in content:
        return Faults(content["what"], [fault_from_json(item) for item in content["faults"]])
    kind: type[LuthierError] = getattr(errors, content["class"])
    return kind(content["what"], where=content["where"], fix=content["fix"])
