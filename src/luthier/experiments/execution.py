"""Who runs the units of a comparison: this process, or several worker processes side by side."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from luthier.config.run_settings import RunSettings
from luthier.experiments.plan import Plan
from luthier.experiments.run_unit import is_finished, running
from luthier.experiments.units import Unit
from luthier.experiments.workers import run_in_workers


class Executor(Protocol):
    """Runs units of work: each after those that it needs, and every one of them, or an error is raised."""

    def execute(self, plan: Plan, units: Sequence[Unit]) -> None:
        """Run the units of a plan; their results lie in the store afterwards."""


@dataclass(frozen=True, slots=True)
class InProcess:
    """Runs units one after another, in this process."""

    def execute(self, plan: Plan, units: Sequence[Unit]) -> None:
        """See :class:`Executor`."""
        with running(plan) as runner:
            for unit in units:
                runner.run(unit)


@dataclass(frozen=True, slots=True)
class LocalWorkers:
    """Runs units side by side in processes of this machine.

    Attributes:
        count: Processes.
        threads: Of torch, in each of them.
    """

    count: int
    threads: int

    def execute(self, plan: Plan, units: Sequence[Unit]) -> None:
        """See :class:`Executor`."""
        done = [unit.name for unit in units if is_finished(plan, unit)]
        left = [unit for unit in units if unit.name not in done]
        if left:
            run_in_workers(plan.config, left, done, count=self.count, threads=self.threads)


@contextlib.contextmanager
def executor_of(config: RunSettings) -> Iterator[Executor]:
    """Give the executor that a configuration asks for.

    Inside, this process computes with as many threads as each worker: the number of threads changes the last bits of
    what is computed, and so it is a part of the key of every result.
    """
    if config.workers == 1:
        yield InProcess()
        return
    before = torch.get_num_threads()
    threads = max(1, before // config.workers)
    torch.set_num_threads(threads)
    try:
        yield LocalWorkers(config.workers, threads)
    finally:
        torch.set_num_threads(before)
