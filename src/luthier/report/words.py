"""What an arm was, in words: on the page and in a notebook."""

from __future__ import annotations

from dataclasses import asdict

from luthier.report import formatting
from luthier.results.records import ArmResult


def arm_in_words(arm: ArmResult) -> str:
    """Return an arm's method, shots, seeds and steps: ``lora, seed 0; 96 steps, best at 72``."""
    parts = [arm.method or "in-context, nothing trained"]
    if arm.shots:
        parts.append(f"{arm.shots} shots ({arm.shots_used[0]}–{arm.shots_used[1]} fitted)")
    parts.append(f"seeds {', '.join(map(str, arm.seeds))}" if len(arm.seeds) > 1 else f"seed {arm.seed}")
    best = f", best at {arm.best_step:,}" if arm.best_step is not None else ""
    return ", ".join(parts) + (f"; {arm.steps:,} steps{best}" if arm.steps else "")


def settings_in_words(arm: ArmResult) -> list[tuple[str, str]]:
    """Return the settings of an arm's method and training, each with its value; those without one are left out."""
    given = {**arm.settings, **(asdict(arm.training) if arm.training else {})}
    return [(words(key), said(value)) for key, value in given.items() if value not in (None, "", [], (), {})]


def words(key: object) -> str:
    """Return a key as words."""
    return str(key).replace("_", " ")


def said(value: object) -> str:
    """Return a value as people write it."""
    if value is None or value == "":
        return formatting.ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(said(part) for part in value)
    return f"{value:,}" if isinstance(value, int) else str(value)
