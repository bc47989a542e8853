"""What a prediction answered, what it should have answered, and text metrics that compare the two as short answers."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np

from luthier.errors import DataError, LuthierError, raise_faults
from luthier.metrics.metric import FloatArray, Metric, mean_of, with_count
from luthier.records import Prediction

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ITEM_SEPARATORS = re.compile(r"[,;\n]")


def check_predictions(predictions: Sequence[Prediction]) -> None:
    """Refuse what no metric can score: no predictions at all, or predictions without a target.

    Raises:
        DataError: There is nothing to score, or one prediction has no target.
        Faults: Several predictions have no target.
    """
    if not predictions:
        raise DataError(
            "There are no predictions to score.", fix="Check the split and the filters: a score of nothing is not 0."
        )
    faults: list[LuthierError] = [
        DataError("The prediction has no target.", where=f"prediction '{p.id}'", fix="Give it at least one target.")
        for p in predictions
        if not p.targets
    ]
    raise_faults(f"{len(faults)} predictions cannot be scored", faults)


Normalisation: TypeAlias = Literal["sum", "tokens", "characters", "bytes", "prior"]
"""What the log-probability of a choice is divided by before choices are compared: ``sum`` by nothing, ``prior`` by its
probability without the prompt, so that what is likely anyhow has no advantage (pointwise mutual information)."""
NORMALISATIONS: tuple[Normalisation, ...] = get_args(Normalisation)


def choice_logprobs(prediction: Prediction, metric: str) -> FloatArray:
    """Log-probabilities of the choices, float64 ``(choices,)`` in nats.

    Raises:
        DataError: There are none, their number is wrong, or one is NaN.
    """
    where = f"prediction '{prediction.id}'"
    if not prediction.choice_logprobs:
        raise DataError(
            f"{metric} needs the log-probability of every choice, and there is none.",
            where=where,
            fix="Evaluate the task as a choice task (give it `choices`), or use another metric.",
        )
    if len(prediction.choice_logprobs) != len(prediction.choices):
        raise DataError(
            f"There are {len(prediction.choices)} choices and {len(prediction.choice_logprobs)} log-probabilities.",
            where=where,
            fix="Give one log-probability for each choice, in the same order.",
        )
    values = np.array(prediction.choice_logprobs, dtype=np.float64)
    if np.isnan(values).any():
        bad = prediction.choices[int(np.isnan(values).argmax())]
        raise DataError(
            f"The log-probability of choice {bad!r} is NaN.",
            where=where,
            fix="The model diverged: look at its training loss before its score.",
        )
    return values


def answer(prediction: Prediction, by: Normalisation = "sum") -> str:
    """The choice with the highest log-probability (the first of equals), or the stripped text where there is none.

    Args:
        prediction: What the model answered.
        by: What log-probabilities are divided by, so that longer choices are not punished for their length:
            ``tokens`` (the end token included), ``characters`` (lm-eval's ``acc_norm``) or UTF-8 ``bytes``; by
            ``prior`` the log-probability without the prompt is taken off (lm-eval's ``acc_mutual_info``; Holtzman et
            al. 2021, Surface Form Competition).

    Raises:
        DataError: ``by`` is not ``sum`` and the log-probabilities or token counts are missing, or they do not fit.
    """
    if not prediction.choice_logprobs and by == "sum":
        return prediction.text.strip()
    metric = "accuracy" if by == "sum" else "accuracy_normalised" if by == "tokens" else f"accuracy:by={by}"
    values = choice_logprobs(prediction, metric)
    if by == "prior":
        values = values - _priors(prediction)
    return prediction.choices[int((values / choice_lengths(prediction, by)).argmax())]


def choice_lengths(prediction: Prediction, by: Normalisation) -> FloatArray:
    """What the log-probability of each choice is divided by, float64 ``(choices,)``; at least 1.

    Raises:
        DataError: Token counts are wanted, and their number is wrong.
    """
    if by == "tokens":
        return np.maximum(_token_counts(prediction), 1.0)
    if by in ("sum", "prior"):
        return np.ones(len(prediction.choices))
    texts = [choice.encode("utf-8", "surrogatepass") if by == "bytes" else choice for choice in prediction.choices]
    return np.maximum([float(len(text)) for text in texts], 1.0)


def _priors(prediction: Prediction) -> FloatArray:
    if len(prediction.choice_priors) != len(prediction.choices):
        what = (
            f"There are {len(prediction.choices)} choices and {len(prediction.choice_priors)} of them without a prompt."
        )
        fix = "Evaluate the task with `joint` and a metric with `:by=prior`, or use the metric 'accuracy'."
        raise DataError(what, where=f"prediction '{prediction.id}'", fix=fix)
    return np.array(prediction.choice_priors, dtype=np.float64)


def _token_counts(prediction: Prediction) -> FloatArray:
    values = prediction.choice_logprobs
    if len(prediction.choice_tokens) != len(values):
        raise DataError(
            f"There are {len(values)} choices and {len(prediction.choice_tokens)} token counts.",
            where=f"prediction '{prediction.id}'",
            fix="Log `choice_tokens` with the predictions, or use the metric 'accuracy'.",
        )
    return np.array(prediction.choice_tokens, dtype=np.float64)


def is_right(prediction: Prediction, given: str) -> bool:
    """Whether the answer equals one of the targets, white space at their ends aside; never where none was found."""
    return not prediction.unparsed and any(given.strip() == target.strip() for target in prediction.targets)


def squad_normalise(text: str) -> str:
    """Lower-case, drop punctuation, articles and extra white space: SQuAD's official evaluation script (v2.0)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split())


def token_f1(prediction: str, reference: str) -> float:
    """F1 over the multisets of normalised tokens; 1 when both are empty, 0 when one is (SQuAD v2.0's script)."""
    got, wanted = squad_normalise(prediction).split(), squad_normalise(reference).split()
    if not got or not wanted:
        return float(got == wanted)
    common = sum((Counter(got) & Counter(wanted)).values())
    if not common:
        return 0.0
    precision, recall = common / len(got), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


def set_f1(prediction: str, reference: str) -> float:
    """F1 over two sets of items, written one after another with commas, semicolons or newlines between them."""
    got, wanted = _items(prediction), _items(reference)
    if not got or not wanted:
        return float(got == wanted)
    return 2 * len(got & wanted) / (len(got) + len(wanted))


def _items(text: str) -> set[str]:
    return {item for part in _ITEM_SEPARATORS.split(text) if (item := squad_normalise(part))}


def number_normalise(text: str) -> str:
    """Return a number as it is compared: lower case, without commas, dollar signs and a full stop at the end."""
    return text.strip().lower().replace(",", "").replace("$", "").removesuffix(".").strip()


_CLEANED: Mapping[str, Callable[[str], str]] = {
    "strip": str.strip,
    "squad": squad_normalise,
    "number": number_normalise,
}
EXACT_NORMALISATIONS = tuple(_CLEANED)


def exact_match_metric(normalise: str) -> Metric:
    """Share of texts equal to a target, as they stand (``"strip"``), after SQuAD's normalisation (``"squad"``), or as
    numbers are written in many ways (``"number"``: without commas, ``$`` and a full stop at the end)."""
    clean = _CLEANED[normalise]

    def statistics(predictions: Sequence[Prediction]) -> FloatArray:
        return with_count(
            [float(not p.unparsed and clean(p.text) in {clean(t) for t in p.targets}) for p in predictions]
        )

    options = f"normalise:{normalise}"
    return Metric("exact_match", ("exact_match",), "exact_match", True, options, statistics, mean_of, proportion=True)


def best_target_metric(name: str, score: Callable[[str, str], float]) -> Metric:
    """Mean over examples of the best score against any of the targets."""

    def statistics(predictions: Sequence[Prediction]) -> FloatArray:
        # SQuAD's normalisation can leave nothing of a target: an answer that was not found must not equal it.
        return with_count(
            [0.0 if p.unparsed else max(score(p.text, target) for target in p.targets) for p in predictions]
        )

    return Metric(name, (name,), name, True, "normalise:squad", statistics, mean_of)
