"""What a reader must know of the method behind the marks, in words and with the run's own numbers."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.results.records import ArmResult, RunResults


def correction_words(results: RunResults) -> list[str]:
    """Explain the tests, Holm's correction and why intervals can disagree with marks; one paragraph each."""
    alpha = f"{1 - results.confidence:.2g}"
    count, tasks = len(results.pairs), max((len(arm.retained) for arm in results.arms), default=0)
    paragraphs = [
        "Differences are paired: two arms answer the same examples, and what both share (hard and easy examples) "
        "cancels. With one training run the test is approximate randomisation: the arms' answers are exchanged at "
        "random, and a large difference is rare where it does not matter whose they are. With several runs it is a t "
        "test over runs and examples."
    ]
    if count > 1:
        most = f"{min(1.0, count * (1 - results.confidence)):.2g}"
        paragraphs.append(
            f"The {count} pairs of arms are tested together. If no two arms differed, one of {count} uncorrected tests "
            f"at {alpha} would find a difference with a probability of up to {most}. Holm's method (1979) multiplies "
            f"the smallest p-value by {count}, the next by {count - 1}, and so on, none below the one before it; so "
            f"one false mark or more has a probability of at most {alpha}."
        )
    if tasks > 1:
        paragraphs.append(f"The {tasks} retained tasks of an arm are corrected together in the same way.")
    if count > 1 or tasks > 1:
        paragraphs.append(
            "Each interval is of one difference alone and not corrected. It may exclude 0 where no mark stands: alone "
            "the difference would count, among so many it does not."
        )
    return paragraphs


def signatures_once(results: RunResults) -> list[tuple[str, str]]:
    """Return every signature once, with what it belongs to, e.g. ``"accuracy: zero_shot, lora"``."""
    owners: dict[str, dict[str, list[str]]] = {}
    for arm in results.arms:
        for name, signature in _signatures(arm):
            owners.setdefault(signature, {}).setdefault(name, []).append(arm.name)
    return [(signature, _owners(names, len(results.arms))) for signature, names in owners.items()]


def _signatures(arm: ArmResult) -> list[tuple[str, str]]:
    kept = [*arm.retained, *([arm.token_loss] if arm.token_loss else [])]
    return [
        *((score.metric, score.signature) for score in arm.scores),
        *((f"{item.task} {item.metric}", item.after.signature) for item in kept),
    ]


def _owners(names: dict[str, list[str]], arms: int) -> str:
    """Say whose a signature is; outputs of one metric that belong to the same arms stand together."""
    outputs_of: dict[tuple[str, ...], list[str]] = {}
    for name, owners in names.items():
        outputs_of.setdefault(tuple(owners), []).append(name)
    return "; ".join(
        f"{', '.join(outputs)}: {'every arm' if len(owners) == arms else ', '.join(owners)}"
        for owners, outputs in outputs_of.items()
    )


def best_steps(arms: Sequence[ArmResult]) -> dict[tuple[str, int], int]:
    """Return the step whose weights were kept, of every training run where it is known, by arm and seed."""
    found: dict[tuple[str, int], int] = {}
    for arm in arms:
        runs = [(run.seed, run.best_step) for run in arm.per_seed] or [(arm.seed, arm.best_step)]
        found |= {(arm.name, seed): step for seed, step in runs if step is not None}
    return found
