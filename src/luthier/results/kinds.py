"""Which verb made a run: comparisons, learning curves and sequences have results of their own kinds."""

from __future__ import annotations

from pathlib import Path

from pydantic_core import from_json

from luthier.results.records import RESULTS

CURVE, SEQUENCE = "curve", "sequence"


def kind_of_run(run: Path) -> str:
    """Return the kind of a run's results; "" for a comparison, and for what cannot be read."""
    try:
        found = from_json((run / RESULTS).read_bytes())
    except (OSError, ValueError):
        return ""
    return str(found.get("kind", "")) if isinstance(found, dict) else ""
