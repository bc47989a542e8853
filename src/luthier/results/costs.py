"""What an arm costs that is trained several times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from luthier.results.records import ArmCosts


def mean_costs(runs: Sequence[ArmCosts]) -> ArmCosts:
    """Return what one training run of an arm costs, as the mean over its seeds.

    What was not measured in a run is left out of the mean, and is None where no run measured it. The peak of the memory
    is the greatest of any run, and known answers are counted over all of them.

    Args:
        runs: One for each seed; at least one.
    """
    if len(runs) == 1:
        return runs[0]
    return ArmCosts(
        training_seconds=_mean(run.training_seconds for run in runs),
        supervised_tokens_per_second=_mean(run.supervised_tokens_per_second for run in runs),
        peak_memory_bytes=max(
            (run.peak_memory_bytes for run in runs if run.peak_memory_bytes is not None), default=None
        ),
        evaluation_seconds=_mean(run.evaluation_seconds for run in runs),
        generation_tokens_per_second=_mean(run.generation_tokens_per_second for run in runs),
        seconds_per_request=_mean(run.seconds_per_request for run in runs),
        request_seconds=_mean(run.request_seconds for run in runs),
        merged_request_seconds=_mean(run.merged_request_seconds for run in runs),
        search_seconds=_mean(run.search_seconds for run in runs),
        known_answers=sum(run.known_answers for run in runs),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
