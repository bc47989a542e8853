"""Results that an earlier version of Luthier wrote, brought to the keys of this one before they are checked."""

from __future__ import annotations

from typing import Any

from luthier.config.training import TrainingConfig
from luthier.errors import ConfigError
from luthier.metrics.registry import get_metric, metric_of_output

_DEFAULT_CONFIDENCE = 0.95


def upgraded(raw: Any) -> Any:
    """Add what older results lack and what can be told from the rest of the file.

    - The level of each interval: it stood once for the whole run, as ``confidence``.
    - The scale of each retained task's metric: it followed from the metric's name.
    - Empty ``training`` of an arm that trains nothing: it is null now.
    - Training settings that were renamed.

    What is not of the expected shape is left as it is, for the check that follows to name.
    """
    if not isinstance(raw, dict):
        return raw
    level = raw.get("confidence", _DEFAULT_CONFIDENCE)
    return raw | {key: _upgraded(raw[key], level) for key in ("arms", "pairs") if key in raw}


def _upgraded(value: Any, level: Any) -> Any:
    if isinstance(value, list):
        return [_upgraded(item, level) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: _upgraded(item, level) for key, item in value.items()}
    if {"value", "low", "high"} <= found.keys():
        found.setdefault("confidence", level)
    if {"before", "after", "metric"} <= found.keys() and "scale" not in found:
        found["scale"] = _scale(found["metric"])
    if isinstance(found.get("training"), dict) and "method" in found:
        renamed = {TrainingConfig.renamed.get(key, key): item for key, item in found["training"].items()}
        found["training"] = renamed or None
    return found


def _scale(output: Any) -> float | None:
    """Return the scale of the metric that gives an output; 1 where that metric is not known or needs a model."""
    try:
        # chrF+ and chrF++ are outputs of chrF with other settings.
        return get_metric(metric_of_output(str(output).rstrip("+"))).scale
    except ConfigError:
        return 1.0
