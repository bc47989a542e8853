"""The registry of metrics by name, as tasks and the command line give them: ``"rouge"``, ``"bleu:tokenize=zh"``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from luthier.errors import ConfigError, did_you_mean
from luthier.metrics import answer_extraction
from luthier.metrics.choice import (
    answer_bits,
    calibration,
    classification,
    correlation,
    helm_calibration,
    truth_mass,
)
from luthier.metrics.metric import Metric
from luthier.metrics.model_based import bert_score, nli, perplexity
from luthier.metrics.overlap import bleu, chrf, negation, rouge, tokenisers, truth_overlap
from luthier.metrics.social import bias, crows_pairs, toxicity


@dataclass(frozen=True)
class Option:
    """One setting of a metric: its default, and the values it may take (empty: any text)."""

    default: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """How to build a metric; ``build`` receives settings that are complete and validated."""

    build: Callable[[Mapping[str, str]], Metric]
    options: Mapping[str, Option]


_YES_NO = ("yes", "no")


def _plain(build: Callable[[], Metric]) -> Entry:
    return Entry(lambda settings: build(), {})


_BY = Option("sum", answer_extraction.NORMALISATIONS)


def _normalisation(settings: Mapping[str, str]) -> answer_extraction.Normalisation:
    return next(by for by in answer_extraction.NORMALISATIONS if by == settings["by"])


def _of_choices(build: Callable[[answer_extraction.Normalisation], Metric]) -> Entry:
    return Entry(lambda settings: build(_normalisation(settings)), {"by": _BY})


def _entries() -> dict[str, Entry]:
    best_target = answer_extraction.best_target_metric
    return {
        "answer_bits_per_byte": _plain(answer_bits.answer_bits_metric),
        "accuracy": _of_choices(classification.accuracy),
        "accuracy_normalised": _plain(classification.accuracy_normalised),
        "association": Entry(
            lambda s: bias.association_metric(s["groups"], s["targets"]),
            {"groups": Option("gender"), "targets": Option("professions")},
        ),
        "balanced_accuracy": _of_choices(classification.balanced_accuracy_metric),
        "bertscore": Entry(
            lambda s: bert_score.bertscore_metric(s["model"], s["layer"]), {"model": Option(""), "layer": Option("")}
        ),
        "bleu": Entry(
            lambda s: bleu.bleu_metric(tokenize=s["tokenize"], smooth=s["smooth"], lowercase=s["lowercase"] == "yes"),
            {
                "tokenize": Option("13a", tokenisers.TOKENISERS),
                "smooth": Option("exp", bleu.SMOOTHINGS),
                "lowercase": Option("no", _YES_NO),
            },
        ),
        "brier": _plain(calibration.brier_metric),
        "chrf": Entry(
            lambda s: chrf.chrf_metric(word_order=int(s["word_order"]), lowercase=s["lowercase"] == "yes"),
            {"word_order": Option("0", ("0", "1", "2")), "lowercase": Option("no", _YES_NO)},
        ),
        "ece": _plain(calibration.ece_metric),
        "exact_match": Entry(
            lambda s: answer_extraction.exact_match_metric(s["normalise"]),
            {"normalise": Option("strip", answer_extraction.EXACT_NORMALISATIONS)},
        ),
        "f1": _of_choices(classification.f1_metric),
        "f1_binary": Entry(
            lambda s: classification.f1_binary_metric(s["positive"], _normalisation(s)),
            {"positive": Option("1"), "by": _BY},
        ),
        "helm_ece": _plain(helm_calibration.helm_ece_metric),
        "helm_selective": _plain(helm_calibration.helm_selective_metric),
        "mcc": _of_choices(classification.mcc_metric),
        "negation": _plain(negation.negation_metric),
        "nli": Entry(lambda s: nli.nli_metric(s["model"]), {"model": Option("")}),
        "pearson": _plain(correlation.pearson_metric),
        "perplexity": _plain(perplexity.perplexity_metric),
        "representation": Entry(lambda s: bias.representation_metric(s["groups"]), {"groups": Option("gender")}),
        "rouge": Entry(
            lambda s: rouge.rouge_metric(stemmer=s["stemmer"] == "yes", tokenize=s["tokenize"]),
            {"stemmer": Option("no", _YES_NO), "tokenize": Option(rouge.TOKENISERS[0], rouge.TOKENISERS)},
        ),
        "selective": _plain(calibration.selective_metric),
        "set_f1": _plain(partial(best_target, "set_f1", answer_extraction.set_f1)),
        "spearman": _plain(correlation.spearman_metric),
        "stereotype": _plain(crows_pairs.stereotype_metric),
        "token_f1": _plain(partial(best_target, "token_f1", answer_extraction.token_f1)),
        "toxicity": Entry(lambda s: toxicity.toxicity_metric(s["scorer"]), {"scorer": Option("shipped")}),
        "truth_mass": _plain(truth_mass.truth_mass_metric),
        "truth_overlap": _plain(truth_overlap.truth_overlap_metric),
        "truth_overlap_difference": _plain(truth_overlap.truth_overlap_difference_metric),
        "truth_overlap_share": _plain(truth_overlap.truth_overlap_share_metric),
    }


_ENTRIES = _entries()


def metric_names() -> tuple[str, ...]:
    """Names of all metrics, sorted."""
    return tuple(sorted(_ENTRIES))


def metric_options(name: str) -> Mapping[str, Option]:
    """Settings of the metric ``name``, which must be one of `metric_names`."""
    return _ENTRIES[name].options


Named: TypeAlias = str | Metric
"""A metric by its name, or one that has no name here (of lm-eval, whose tasks bring their own)."""


def get_metric(name: Named) -> Metric:
    """Find a metric by its name, with settings after colons: ``"bleu:tokenize=zh:smooth=floor"``.

    A metric itself stands for its name.

    Raises:
        ConfigError: There is no such metric, setting or value; the message names the known ones.
    """
    if isinstance(name, Metric):
        return name
    head, *settings = name.split(":")
    entry = _ENTRIES.get(head)
    if entry is None:
        owner = _owners().get(head)
        if owner:
            raise ConfigError(f"'{head}' is an output of the metric '{owner}'.", fix=f"Ask for '{owner}'.")
        raise ConfigError(f"Unknown metric '{head}'.", fix=did_you_mean(head, _ENTRIES))
    given = {key: option.default for key, option in entry.options.items()}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or key not in entry.options:
            known = did_you_mean(key, entry.options) if entry.options else f"'{head}' has no settings."
            raise ConfigError(f"Unknown setting '{setting}' of the metric '{head}'.", fix=known)
        values = entry.options[key].values
        if values and value not in values:
            raise ConfigError(f"'{value}' is no {key} of the metric '{head}'.", fix=did_you_mean(value, values))
        given[key] = value
    return entry.build(given)


def metric_outputs() -> dict[str, str]:
    """Return the metric that gives each output, by the output's name."""
    return dict(_owners())


def metric_of_output(output: str) -> str:
    """Name of the metric that gives the output ``output`` (``"rougeL"`` → ``"rouge"``, ``"accuracy_by_bytes"`` →
    ``"accuracy:by=bytes"``).

    Raises:
        ConfigError: No metric gives it.
    """
    owners = _owners()
    if output not in owners:
        raise ConfigError(f"No metric gives '{output}'.", fix=did_you_mean(output, owners))
    return owners[output]


def _owners() -> dict[str, str]:
    """The metric that gives each output, with its default settings where they do not name the output."""
    owners = {"bertscore": "bertscore", "nli": "nli"}  # They cannot be built without a model.
    owners |= {out: name for name in metric_names() if name not in owners for out in get_metric(name).outputs}
    normalised = [f"{name}:by={by}" for name in metric_names() for by in _by_of(name)]
    return owners | {out: name for name in normalised for out in get_metric(name).outputs}


def _by_of(name: str) -> tuple[str, ...]:
    """Return the normalisations of choices that a metric offers besides its default."""
    return answer_extraction.NORMALISATIONS[1:] if "by" in metric_options(name) else ()
