"""Run units in several local processes: hand them out, repeat what they say, and do again what a killed one left.

A worker is ``python -m luthier.experiments.worker``. It reads one JSON value a line from its standard input (first the
job, then one unit at a time) and writes one a line to its standard output (``ready``, ``done``, ``fault`` or
``broken``); what it says to people comes on its standard error, and is repeated here. Results pass through the store
alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.config.compare import CompareConfig
from luthier.errors import WorkerError
from luthier.experiments.fault_messages import fault_from_json
from luthier.experiments.units import Unit, next_unit
from luthier.progress import progress, repeat, say
from luthier.threads import THREAD_VARIABLES

ATTEMPTS = 3
"""Times that a unit is begun before it is given up; each goes on where the one before was killed."""
PATIENCE = 60.0
"""Seconds in which a worker that is stopped must have written its checkpoint."""


@dataclass(eq=False)
class _Worker:
    """A worker process.

    Attributes:
        process: The process.
        unit: What it does; None while it waits.
        ready: Whether it has read the plan.
    """

    process: subprocess.Popen[str]
    unit: Unit | None = None
    ready: bool = False
    threads: list[threading.Thread] = field(default_factory=list)

    def send(self, message: dict[str, Any]) -> None:
        """Write a message to the worker; one that has died is noticed by the end of its output."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def end(self) -> None:
        """Stop the process, wherever it is, and wait for it."""
        self.process.kill()
        self.process.wait()
        for thread in self.threads:
            thread.join()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(BrokenPipeError):  # what the dead worker was never told
                if pipe is not None:
                    pipe.close()


def run_in_workers(
    config: CompareConfig, units: Sequence[Unit], done: Collection[str], *, count: int, threads: int
) -> None:
    """Run units side by side.

    Args:
        config: From which each worker reads the plan.
        units: What is to be done; none is left undone.
        done: Names of units that are done already.
        count: Worker processes at most.
        threads: Of torch, in each worker.

    Raises:
        LuthierError: The first fault of a worker; the others are stopped then, and what is finished is kept.
        WorkerError: When workers keep dying at the same unit.
    """
    pool = _Pool(config, units, done, threads)
    with progress("comparison", len(units), "units") as advance:
        try:
            pool.start(min(count, len(units)))
            while pool.unfinished:
                name = pool.wait()
                if name is not None:
                    advance(1, name)
        except KeyboardInterrupt:
            pool.stop()
            raise
        finally:
            pool.end()


class _Pool:
    """The workers, and which units are waiting, running and done."""

    def __init__(self, config: CompareConfig, units: Sequence[Unit], done: Collection[str], threads: int) -> None:
        # Only what the user gave: an arm's training settings win over those alone.
        self._job = {"config": config.model_dump(mode="json", exclude_unset=True), "threads": threads}
        self._threads = threads
        self._waiting = list(units)
        self._done = set(done)
        self._begun: Counter[str] = Counter()
        self._workers: list[_Worker] = []
        self._messages: queue.SimpleQueue[tuple[_Worker, dict[str, Any] | None]] = queue.SimpleQueue()

    @property
    def unfinished(self) -> bool:
        """Whether anything is waiting or running."""
        return bool(self._waiting) or any(worker.unit for worker in self._workers)

    def start(self, count: int) -> None:
        """Start workers."""
        for _ in range(count):
            self._workers.append(self._started())

    def wait(self) -> str | None:
        """Wait for the next message of any worker; return the name of a unit that has ended."""
        worker, message = self._messages.get()
        ended = None
        if message is None:
            self._replace(worker)
        elif message["type"] == "ready":
            worker.ready = True
        elif message["type"] == "fault":
            raise fault_from_json(message["fault"])
        elif message["type"] == "broken":
            raise RuntimeError(f"a worker failed at '{worker.unit.name if worker.unit else 'its start'}'; see above")
        elif message["type"] == "done":
            assert worker.unit is not None
            ended = worker.unit.name
            self._done.add(ended)
            worker.unit = None
        self._hand_out()
        return ended

    def stop(self) -> None:
        """Ask all workers to keep what they have done, and give them time for it."""
        for worker in self._workers:
            worker.process.terminate()
        deadline = time.monotonic() + PATIENCE
        for worker in self._workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(max(0.0, deadline - time.monotonic()))

    def end(self) -> None:
        """Stop all workers."""
        for worker in self._workers:
            worker.end()

    def _hand_out(self) -> None:
        for worker in self._workers:
            if worker.ready and worker.unit is None:
                running = [other.unit for other in self._workers if other.unit is not None]
                unit = next_unit(self._waiting, self._done, running)
                if unit is None:
                    return
                self._waiting.remove(unit)
                self._begun[unit.name] += 1
                worker.unit = unit
                worker.send(unit.as_json())

    def _replace(self, worker: _Worker) -> None:
        """Put another worker in the place of one that has died; its unit goes on from its last checkpoint."""
        worker.end()
        self._workers.remove(worker)
        code, unit = worker.process.returncode, worker.unit
        if not worker.ready or (unit is not None and self._begun[unit.name] >= ATTEMPTS):
            doing = f"at '{unit.name}'" if unit is not None else "before it was ready"
            raise WorkerError(
                f"a worker process died {doing} (exit code {code})",
                where="workers",
                fix="If memory ran out, use fewer --workers; what is finished is kept, and the same command goes on.",
            )
        if unit is not None:
            say(f"{unit.name}: its worker died (exit code {code}); another one goes on with it")
            self._waiting.insert(0, unit)
        self._workers.append(self._started())

    def _started(self) -> _Worker:
        environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(self._threads))}
        process = subprocess.Popen(
            [sys.executable, "-m", "luthier.experiments.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=environment,
        )
        worker = _Worker(process)
        for listen in (self._listen, _repeat):
            thread = threading.Thread(target=listen, args=(worker,), daemon=True)
            thread.start()
            worker.threads.append(thread)
        worker.send(self._job)
        return worker

    def _listen(self, worker: _Worker) -> None:
        """Put every message of a worker into the queue, and None when it has ended."""
        assert worker.process.stdout is not None
        for line in worker.process.stdout:
            self._messages.put((worker, json.loads(line)))
        self._messages.put((worker, None))


def _repeat(worker: _Worker) -> None:
    """Repeat what a worker says to people."""
    assert worker.process.stderr is not None
    for line in worker.process.stderr:
        repeat(line.rstrip("\n"))
