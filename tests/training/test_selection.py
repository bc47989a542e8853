"""What chooses the best weights beside the target's metric."""

from __future__ import annotations

import pytest

from luthier.errors import ConfigError
from luthier.metrics.task_metrics import TaskMetrics
from luthier.records import Prediction
from luthier.training.selection import (
    Known,
    known_tasks,
    mean_share,
    require_scale,
    score_in_words,
    share_of_scale,
    target_if_kept,
)

ACCURACY = TaskMetrics("topic", ("accuracy",), "accuracy")
BLEU = TaskMetrics("translation", ("bleu",), "bleu")
LOSS = TaskMetrics("plain_text", ("perplexity",), "token_loss")
ERRORS = TaskMetrics("speech", ("edit_distance",), "edit_distance")


def answered(right: int, wrong: int, *, choices: int = 2) -> tuple[Prediction, ...]:
    """Answers to a task of choices, some of them right."""
    names = tuple("abcd"[:choices])
    return tuple(
        Prediction(f"{number}", "topic", "a" if number < right else "b", ("a",), choices=names)
        for number in range(right + wrong)
    )


def test_scores_of_different_scales_have_a_mean() -> None:
    """40 BLEU of 100 are 0.4, and 0.9 accuracy is 0.9."""
    assert share_of_scale(40.0, BLEU) == pytest.approx(0.4)
    assert mean_share([(40.0, BLEU), (0.9, ACCURACY)]) == pytest.approx(0.65)


def test_an_unbounded_score_is_in_no_mean() -> None:
    with pytest.raises(ConfigError, match=r"plain_text.*token_loss, which has no bound"):
        require_scale(LOSS)
    require_scale(BLEU)


def test_weights_that_keep_too_little_are_worse_than_any_that_keep_enough() -> None:
    """A poor target that keeps all beats a perfect one that keeps 0.97; of those with too little, more is better."""
    scores = [target_if_kept(*given, 0.98) for given in [(0.1, 1.0), (0.2, 0.98), (1.0, 0.97), (0.5, 0.4), (0.9, 0.3)]]
    assert sorted(scores, reverse=True) == [scores[place] for place in (1, 0, 2, 3, 4)]
    assert score_in_words(scores[0]) == "0.1"
    assert score_in_words(scores[3]) == "keeps 0.58 less than is asked for"
    assert score_in_words(target_if_kept(-250.0, 1.0, 0.98)) == "-250"


def test_the_share_is_of_what_lies_above_chance() -> None:
    """From 0.9 to 0.7 where guessing gives 0.5: half of what the base could do is kept."""
    assert Known(ACCURACY, before=0.9, chance=0.5).share(0.7) == pytest.approx(0.5)


def test_only_what_the_base_can_do_is_known() -> None:
    """95 of 100 is above one half; 52 of 100 is not told from it."""
    logs = {"can": (answered(95, 5), ACCURACY), "cannot": (answered(52, 48), ACCURACY)}
    known = known_tasks(logs)
    assert list(known) == ["can"]
    assert known["can"].before == pytest.approx(0.95)
    assert known["can"].chance == pytest.approx(0.5)
    with pytest.raises(ConfigError, match=r"none of the retained tasks better than by guessing \(cannot\)"):
        known_tasks({"cannot": logs["cannot"]})
