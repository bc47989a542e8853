"""A task made ready, with every item perturbed: it is answered like any other, by the same jobs and from the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from luthier.config.helm import HelmConfig
from luthier.evaluation.perturbations.named import perturbation_named
from luthier.evaluation.perturbations.perturbation import Perturbation, perturb
from luthier.evaluation.prepared_task import PreparedTask


@dataclass(frozen=True)
class PerturbedTask:
    """A task whose items are perturbed.

    Attributes:
        perturbation: How.
        prepared: The task with the perturbed items, which keep their ids and their exemplars.
        changed: Ids of the items that are not as they were.
    """

    perturbation: Perturbation
    prepared: PreparedTask
    changed: frozenset[str]


def perturbations_of(config: HelmConfig) -> tuple[Perturbation, ...]:
    """Return every perturbation that is asked for, each once.

    Raises:
        DataError: A word list is missing or is something else.
    """
    names = dict.fromkeys((*config.robustness, *config.sweeps, *config.fairness))
    lists = {str(key): path for key, path in config.lists.items()}
    return tuple(perturbation_named(name, lists) for name in names)


def perturbed_tasks(prepared: PreparedTask, perturbations: Sequence[Perturbation], *, seed: int) -> list[PerturbedTask]:
    """Perturb the items of a task that has its exemplars already: those are never perturbed, as in HELM."""
    labels, language = bool(prepared.task.choices), prepared.task.language
    found = []
    for perturbation in perturbations:
        examples = tuple(
            perturb(example, perturbation, seed=seed, labels=labels, language=language) for example in prepared.examples
        )
        pairs = zip(examples, prepared.examples, strict=True)
        changed = frozenset(own.id for own, before in pairs if own != before)
        found.append(PerturbedTask(perturbation, replace(prepared, examples=examples), changed))
    return found
