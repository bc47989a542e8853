"""Measure the metrics against their reference implementations in one run.

    python perf/metrics.py            # about three minutes, mostly in the reference implementations
    python perf/metrics.py --quick    # a tenth of the pairs

Every comparison checks equality on the pairs that it times. Times are the minimum of three passes for Luthier and one
pass for the reference; the reference runs on one core, Luthier on all that the process may use (``taskset -c 0`` for
one).
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Callable

import numpy as np
import sacrebleu
from rouge_score import rouge_scorer, scoring

from luthier.metrics.overlap.bleu import bleu_metric
from luthier.metrics.overlap.chrf import chrf_metric
from luthier.metrics.overlap.rouge import TYPES, rouge
from luthier.metrics.resampling import clusters_of, resampled
from luthier.metrics.scoring import score_predictions
from luthier.records import Prediction

Pairs = tuple[list[str], list[str]]


def vocabulary(size: int, rng: random.Random) -> list[str]:
    """Generate words that resemble English: roots with common endings, so that the stemmer is exercised."""
    syllables = [
        "con",
        "ver",
        "sa",
        "tion",
        "mi",
        "ter",
        "pre",
        "lo",
        "gen",
        "ra",
        "du",
        "pel",
        "ki",
        "nor",
        "thy",
        "est",
    ]
    endings = ["", "", "", "s", "ed", "ing", "ly", "ness", "ment", "ational", "ies", "er"]
    words = {"".join(rng.choices(syllables, k=rng.randint(1, 3))) + rng.choice(endings) for _ in range(3 * size)}
    return sorted(words)[:size]


def generated_pairs(count: int, words: int, *, lines: int = 1, seed: int = 0) -> Pairs:
    """Generate pairs of texts that share about two thirds of their words, Zipf-distributed, with punctuation."""
    rng = random.Random(seed)
    known = vocabulary(8000, rng)
    rng.shuffle(known)
    weights = list(np.cumsum(1.0 / np.arange(1, len(known) + 1)))
    got, wanted = [], []
    for _ in range(count):
        truth = rng.choices(known, cum_weights=weights, k=words)
        guess = [rng.choices(known, cum_weights=weights)[0] if rng.random() < 0.35 else word for word in truth]
        got.append(as_text(guess, lines, rng))
        wanted.append(as_text(truth, lines, rng))
    return got, wanted


def as_text(words: list[str], lines: int, rng: random.Random) -> str:
    step = -(-len(words) // lines)
    cut = [" ".join(words[i : i + step]) for i in range(0, len(words), step)]
    return "\n".join(line.replace(" ", rng.choice([", ", " "]), 1).capitalize() + "." for line in cut)


def best_of(times: int, work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def report(name: str, theirs: float, ours: float, difference: float) -> None:
    print(
        f"{name:<58} {theirs:9.3f} s {ours:9.4f} s {theirs / ours:8.0f} ×   max difference {difference:.2g}", flush=True
    )


def compare_rouge(name: str, pairs: Pairs, *, stemmer: bool, types: tuple[str, ...]) -> None:
    got, wanted = pairs
    scorer = rouge_scorer.RougeScorer(list(types), use_stemmer=stemmer)
    start = time.perf_counter()
    scored = [scorer.score(truth, guess) for guess, truth in zip(got, wanted, strict=True)]
    theirs = time.perf_counter() - start
    table = np.array([[tuple(row[t]) for t in types] for row in scored])
    ours = best_of(3, lambda: rouge(got, wanted, stemmer=stemmer))
    mine = rouge(got, wanted, stemmer=stemmer)[:, [TYPES.index(t) for t in types]]
    report(f"ROUGE, {name}, {'stemmed' if stemmer else 'plain'}", theirs, ours, float(np.abs(mine - table).max()))


def predictions_of(pairs: Pairs) -> list[Prediction]:
    return [Prediction(str(i), "perf", guess, (truth,)) for i, (guess, truth) in enumerate(zip(*pairs, strict=True))]


def compare_sacrebleu(name: str, pairs: Pairs) -> None:
    predictions = predictions_of(pairs)
    for metric, reference in (
        (bleu_metric(), sacrebleu.BLEU(force=True)),
        (bleu_metric(tokenize="intl"), sacrebleu.BLEU(tokenize="intl", force=True)),
        (chrf_metric(), sacrebleu.CHRF()),
        (chrf_metric(word_order=2), sacrebleu.CHRF(word_order=2)),
    ):
        start = time.perf_counter()
        value = reference.corpus_score(pairs[0], [pairs[1]]).score
        theirs = time.perf_counter() - start
        ours = best_of(3, lambda metric=metric: metric.evaluate(metric.statistics(predictions)))  # type: ignore[misc]
        difference = abs(float(metric.evaluate(metric.statistics(predictions))[0]) - value)
        label = metric.options.split("tok:")[-1].split("|")[0] if metric.name == "bleu" else ""
        report(f"{metric.primary} {label}, {name}", theirs, ours, difference)


def compare_bootstrap(pairs: Pairs, resamples: int = 1000) -> None:
    predictions, clusters = predictions_of(pairs), clusters_of(predictions_of(pairs))
    metric = bleu_metric()
    stats = metric.statistics(predictions)
    reference = sacrebleu.BLEU(force=True)
    start = time.perf_counter()
    mean = reference.corpus_score(pairs[0], [pairs[1]], n_bootstrap=resamples)._mean
    theirs = (
        time.perf_counter() - start - best_of(1, lambda: sacrebleu.BLEU(force=True).corpus_score(pairs[0], [pairs[1]]))
    )
    ours = best_of(3, lambda: resampled([metric], [stats], clusters, resamples, 0))
    difference = abs(float(resampled([metric], [stats], clusters, resamples, 0)[0].mean()) - mean)
    report(f"bootstrap of BLEU, {len(predictions)} pairs × {resamples}", theirs, ours, difference)
    table = rouge(*pairs)
    aggregator = scoring.BootstrapAggregator(n_samples=resamples)
    for row in table:
        aggregator.add_scores({t: scoring.Score(*row[i]) for i, t in enumerate(TYPES)})
    start = time.perf_counter()
    middle = aggregator.aggregate()["rougeL"].mid.fmeasure
    theirs = time.perf_counter() - start
    from luthier.metrics.overlap.rouge import rouge_metric

    metric = rouge_metric()
    stats = metric.statistics(predictions)
    ours = best_of(3, lambda: resampled([metric], [stats], clusters, resamples, 0))
    difference = abs(float(resampled([metric], [stats], clusters, resamples, 0)[0][:, 2].mean()) - middle)
    report(f"bootstrap of ROUGE, {len(predictions)} pairs × {resamples}", theirs, ours, difference)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the pairs")
    part = 10 if parser.parse_args().quick else 1
    print(f"{len(os.sched_getaffinity(0))} cores; reference, Luthier, ratio")
    short, long = generated_pairs(10_000 // part, 25), generated_pairs(500 // part, 400)
    by_line = generated_pairs(500 // part, 400, lines=16)
    rouge(*short, stemmer=True)  # Imports are not timed on either side.
    three = TYPES[:3]
    for stemmer in (False, True):
        compare_rouge(f"{len(short[0])} pairs of 25 words", short, stemmer=stemmer, types=three)
        compare_rouge(f"{len(long[0])} pairs of 400 words", long, stemmer=stemmer, types=three)
        compare_rouge(f"{len(long[0])} pairs of 16 × 25 words, with Lsum", by_line, stemmer=stemmer, types=TYPES)
    compare_sacrebleu(f"{len(short[0])} pairs of 25 words", short)
    compare_sacrebleu(f"{len(long[0])} pairs of 400 words", long)
    compare_bootstrap(short)
    predictions = predictions_of(short)
    seconds = best_of(3, lambda: score_predictions(predictions, ["rouge", "bleu", "chrf", "token_f1", "exact_match"]))
    print(f"rouge, bleu, chrf, token_f1, exact_match with intervals, {len(predictions)} pairs: {seconds:.3f} s")


if __name__ == "__main__":
    main()
