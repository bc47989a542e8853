"""Held-out pairs of the tasks that ``luthier eval`` measures: what an adapter makes of them, against its base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from luthier.config.evaluation import ScoringConfig
from luthier.data.preferences import Pair
from luthier.evaluation.context import EvaluationContext
from luthier.evaluation.pairs import pairs_job
from luthier.evaluation.prepared_task import PreparedTask
from luthier.evaluation.run import ensure_answered, read_log
from luthier.experiments.preference_data import held_out_pairs
from luthier.metrics.seed_runs import Log
from luthier.models.language_model import LanguageModel
from luthier.results.preference_records import PreferenceResult
from luthier.results.preferences import preference_result


@dataclass(frozen=True)
class PairsOfTasks:
    """The pairs of some tasks.

    Attributes:
        model: With its adapter or without, as it is at a call.
        pairs: Of each task that has any, by its name.
    """

    model: LanguageModel
    pairs: Mapping[str, tuple[Pair, ...]]

    def logs(self, context: EvaluationContext) -> dict[str, Log]:
        """Score the pairs by the model as it is now, or find that in the store; by task.

        Args:
            context: Says which adapter is on the model, and where the store is.
        """
        return {
            name: read_log(ensure_answered(pairs_job(self.model, own, context, label=f"{name}: pairs"))).predictions
            for name, own in self.pairs.items()
        }


def pairs_of_tasks(model: LanguageModel, prepared: Sequence[PreparedTask]) -> PairsOfTasks:
    """Return the pairs of the tasks that have some."""
    found = {own.task.name: held_out_pairs(own.examples, own.encoder) for own in prepared}
    return PairsOfTasks(model, {name: pairs for name, pairs in found.items() if pairs})


def preferences_of(
    own: Mapping[str, Log], base: Mapping[str, Log], config: ScoringConfig, seed: int
) -> dict[str, PreferenceResult]:
    """Return what is known of a model on the pairs of each task.

    Args:
        own: Its records of them, by task.
        base: The base's.
        config: Level and resamples.
        seed: By which the records are named.
    """
    return {name: preference_result({seed: log}, base[name], config, {"split": "test"}) for name, log in own.items()}
