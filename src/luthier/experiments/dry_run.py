"""``luthier compare --dry-run``: read and check everything, say what a comparison will take, and run nothing."""

from __future__ import annotations

import torch

from luthier.arguments import require_settings
from luthier.config.compare import CompareConfig
from luthier.experiments.execution import executor_of
from luthier.experiments.forecast import forecast
from luthier.experiments.plan import read_plan, require_test
from luthier.experiments.stages import check_sequence
from luthier.files.store_contents import refuse_place_in_store
from luthier.progress import say
from luthier.results.forecast import Forecast
from luthier.threads import threads_in_words


def dry_run(config: CompareConfig) -> Forecast:
    """Say what a comparison will take. Nothing is written; a run after it gives what it would have given without.

    Raises:
        LuthierError: Whatever is wrong with the configuration, the data or the model, as :func:`.compare.compare` says.
    """
    require_settings(config, CompareConfig, "dry_run")
    if config.sequence is not None:
        check_sequence(config)
    refuse_place_in_store(config.runs, "runs")
    with executor_of(config):
        plan = read_plan(config)
        require_test(plan)
        say(threads_in_words(torch.get_num_threads(), config.workers))
        return forecast(plan)
