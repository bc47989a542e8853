"""Run every arm from the same start on the same splits, measure what each kept and cost, and say what follows."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import torch

from luthier.arguments import require_settings
from luthier.config.advice import how_to_set
from luthier.config.compare import CompareConfig
from luthier.errors import ConfigError
from luthier.experiments.execution import executor_of
from luthier.experiments.outcomes import read_base, read_outcomes
from luthier.experiments.plan import name_of_run, read_plan, require_test
from luthier.experiments.run_folder import write_run
from luthier.experiments.sequence import run_sequence
from luthier.experiments.workload import count_arms, count_work, in_words, units_of
from luthier.files.atomic import writing
from luthier.files.store_contents import using_store
from luthier.progress import say
from luthier.threads import threads_in_words


def compare(config: CompareConfig) -> Path:
    """Run a comparison; return the run's folder, with ``results.json``, ``costs.json`` and the logs in it.

    Finished work is found in the store and not done again; a killed run goes on.

    Raises:
        LuthierError: Whatever is wrong with the configuration, the data or the model, before anything is trained; and
            where the training of every arm has failed. An arm that fails beside others is named in the results.
    """
    require_settings(config, CompareConfig, "compare")
    if config.dry_run:
        fix = f"Leave it out, or ask on the command line: {how_to_set('dry_run')}."
        raise ConfigError("a dry run makes no run", where="CompareConfig.dry_run", fix=fix)
    if config.sequence is not None:
        return run_sequence(config)
    started = datetime.now(UTC)
    with using_store(config.runs, remake_damaged=config.remake_damaged), executor_of(config) as executor:
        plan = read_plan(config)
        require_test(plan)
        say(threads_in_words(torch.get_num_threads(), config.workers))
        for counts in count_arms(plan, count_work(plan)):
            say(in_words(counts))
        run = config.runs / name_of_run(plan)
        with writing(run):
            run.mkdir(parents=True, exist_ok=True)
        executor.execute(plan, units_of(plan))
        outcomes = read_outcomes(plan)
        write_run(plan, run, outcomes, read_base(plan), started=started)
    return run
