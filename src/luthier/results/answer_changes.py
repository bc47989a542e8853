"""How the answers to tasks changed that were not trained on: from the logs before and after, whatever they score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from luthier.records import Prediction


@dataclass(frozen=True, slots=True)
class AnswerChanges:
    """Answers to retained tasks after training, beside those of the base to the same examples.

    Attributes:
        answers: Examples that both answered, once for each training run.
        changed: With another text.
        written: Those that are written, not chosen.
        emptied: Written answers that were not empty before and are now.
        cut_off: Written answers that ended by themselves before and run to the limit now.
        as_target: Written answers that are one of the target's choices and were not before: the model answers another
            task; None where the target has no choices.
    """

    answers: int
    changed: int
    written: int
    emptied: int
    cut_off: int
    as_target: int | None = None


def answer_changes(
    pairs: Iterable[tuple[Sequence[Prediction], Sequence[Prediction]]], target_choices: frozenset[str] = frozenset()
) -> AnswerChanges | None:
    """Count what changed.

    Args:
        pairs: Logs of the base and of a trained model, for each task and training run.
        target_choices: The choices of the task that was trained on; empty for free text.

    Returns:
        The counts; None where nothing was answered.
    """
    both = [pair for before, after in pairs for pair in _paired(before, after)]
    written = [(old, new) for old, new in both if not new.choices]
    if not both:
        return None
    return AnswerChanges(
        answers=len(both),
        changed=sum(old.text != new.text for old, new in both),
        written=len(written),
        emptied=sum(bool(_whole(old)) and not _whole(new) for old, new in written),
        cut_off=sum(old.finish != "length" and new.finish == "length" for old, new in written),
        as_target=_as_target(written, target_choices) if target_choices else None,
    )


def _paired(before: Sequence[Prediction], after: Sequence[Prediction]) -> list[tuple[Prediction, Prediction]]:
    known = {prediction.id: prediction for prediction in before}
    return [(known[prediction.id], prediction) for prediction in after if prediction.id in known]


def _whole(prediction: Prediction) -> str:
    return (prediction.generated if prediction.generated is not None else prediction.text).strip()


def _as_target(written: Sequence[tuple[Prediction, Prediction]], choices: frozenset[str]) -> int:
    return sum(_whole(new) in choices and _whole(old) not in choices for old, new in written)
