"""Where and how a run of any kind was made, as rows of names and values."""

from __future__ import annotations

from dataclasses import asdict

from luthier.report.plain import flattened
from luthier.results.curve_records import CurveResults
from luthier.results.records import RunCosts, RunResults
from luthier.results.sequence_records import SequenceResults


def environment_rows(results: RunResults | CurveResults | SequenceResults, costs: RunCosts) -> list[tuple[str, str]]:
    """Return versions, hardware, threads, commit, command and dates, as far as they were recorded."""
    threads = results.threads or costs.threads
    known = asdict(results.environment) if results.environment else {}
    done = asdict(costs.execution) if costs.execution else {}
    computing = {
        "threads": threads or None,
        "precision": results.precision or None,
        "kernels": ", ".join(results.kernels) or None,
        "measured": costs.kernels or None,
    }
    return list(flattened({"Luthier": results.luthier, **known, **computing, **done}))
