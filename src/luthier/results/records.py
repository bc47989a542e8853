"""What a run found, as frozen records and as JSON.

``results.json`` holds what the same command gives again bit for bit; ``costs.json`` holds what was measured with a
clock or a memory gauge, and so differs from one execution to the next.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from luthier.errors import StoreError
from luthier.files.atomic import write_atomically
from luthier.records import Score


@dataclass(frozen=True, slots=True)
class Change:
    """A paired difference, ``after - before`` or ``arm - other``.

    Attributes:
        value: The difference of the means, in the metric's unit.
        low: Lower end of its confidence interval.
        high: Upper end.
        p_value: Two-sided; after Holm's correction where several arms are compared.
        n: Pairs.
        significant: Whether the test says that the difference is not zero.
    """

    value: float
    low: float
    high: float
    p_value: float
    n: int
    significant: bool


@dataclass(frozen=True, slots=True)
class RetentionResult:
    """One task that was not trained on, before and after. ``change.value < 0`` is forgetting for a score."""

    task: str
    metric: str
    higher_is_better: bool
    chance: float | None
    before: Score
    after: Score
    change: Change


@dataclass(frozen=True, slots=True)
class Search:
    """What a search on the validation split tried and chose.

    Attributes:
        trials: Trainings that were begun.
        pruned: Those that were stopped early.
        failed: Those whose loss was not finite.
        space: What was searched, in words.
        chosen: What is used.
        score: Its validation score.
        default_score: That of the defaults, which were the first trial.
    """

    trials: int
    pruned: int
    failed: int
    space: dict[str, str]
    chosen: dict[str, float]
    score: float
    default_score: float | None


@dataclass(frozen=True, slots=True)
class ArmResult:
    """Everything that is known of one arm and does not depend on the clock."""

    name: str
    method: str | None
    shots: int
    seed: int
    settings: dict[str, Any]
    training: dict[str, Any]
    trainable_parameters: int
    stored_bytes: int
    prompt_tokens: float
    """Mean tokens of context per request on the target task's test split."""
    shots_used: tuple[int, int] = (0, 0)
    """Fewest and most exemplars that fitted."""
    steps: int = 0
    best_step: int | None = None
    scores: tuple[Score, ...] = ()
    """On the target task's test split; the task's primary metric first."""
    retained: tuple[RetentionResult, ...] = ()
    """Empty for in-context learning, which changes no weights."""
    token_loss: RetentionResult | None = None
    """Nats per token of held-out plain text."""
    against_first: Change | None = None
    """Difference of the primary metric from the first arm."""
    predictions: str = ""
    """Log of the target task's predictions, relative to the run's folder."""
    curve: str = ""
    """Training log (``log.jsonl``), relative to the run's folder; "" when nothing was trained."""
    search: Search | None = None
    """How its hyper-parameters were chosen; None when they were given."""
    notes: tuple[str, ...] = ()
    """What a reader must know: cut prompts, fewer shots than asked …"""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two arms compared on the same examples: ``a - b``."""

    a: str
    b: str
    change: Change


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One sentence that follows from the numbers."""

    sentence: str
    arm: str | None
    decided: bool


@dataclass(frozen=True, slots=True)
class RunResults:
    """The content of ``results.json``."""

    luthier: str
    run: str
    config: dict[str, Any]
    model: dict[str, Any]
    """``name, digest, kind, parameters, vocabulary, max_length``."""
    task: dict[str, Any]
    """``name, version, description, primary, metrics, higher_is_better, chance, splits, citation, licence``."""
    data: dict[str, Any]
    """What was counted on the way: duplicates, overlaps, cut, dropped."""
    arms: tuple[ArmResult, ...]
    pairs: tuple[Pair, ...]
    recommendation: Recommendation
    confidence: float = 0.95


@dataclass(frozen=True, slots=True)
class ArmCosts:
    """What one arm cost, measured. ``None`` means not measured, never 0."""

    training_seconds: float | None = None
    supervised_tokens_per_second: float | None = None
    peak_memory_bytes: int | None = None
    evaluation_seconds: float | None = None
    generation_tokens_per_second: float | None = None
    seconds_per_request: float | None = None
    """Of the whole test split, answered in batches."""
    request_seconds: float | None = None
    """Median of a request that is alone, with the method beside the weights."""
    merged_request_seconds: float | None = None
    """The same with the method folded into the weights; None where it cannot be, or there is none."""
    search_seconds: float | None = None
    known_answers: int = 0
    """Answers known from earlier evaluations: they count with the seconds that they took then."""


@dataclass(frozen=True, slots=True)
class RunCosts:
    """The content of ``costs.json``."""

    device: str
    threads: int
    arms: dict[str, ArmCosts] = field(default_factory=dict)


def write_json(path: Path, record: RunResults | RunCosts) -> None:
    """Write a record with sorted keys, whole or not at all; NaN stays ``NaN``."""
    write_atomically(path, json.dumps(asdict(record), indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def _read(path: Path, kind: type[Any]) -> Any:
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except OSError:
        raise StoreError("no finished results here", where=str(path), fix="Run `luthier compare` first.") from None
    except ValidationError as invalid:
        item = invalid.errors()[0]
        key = ".".join(str(part) for part in item["loc"])
        what = f"damaged: {key}: {item['msg']}" if key else f"damaged: {item['msg']}"
        raise StoreError(what, where=str(path), fix="Run the same command again.") from None


def read_results(run: Path) -> RunResults:
    """Read ``results.json`` of a run's folder.

    Raises:
        StoreError: When it is missing or damaged.
    """
    results: RunResults = _read(run / "results.json", RunResults)
    return results


def read_costs(run: Path) -> RunCosts:
    """Read ``costs.json`` of a run's folder.

    Raises:
        StoreError: When it is missing or damaged.
    """
    costs: RunCosts = _read(run / "costs.json", RunCosts)
    return costs
