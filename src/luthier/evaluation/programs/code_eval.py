"""pass@k of programs (Chen et al. 2021, arXiv:2107.03374, section 2.1), in place of `evaluate`'s ``code_eval``.

lm-eval's HumanEval and MBPP judge by that metric, which is fetched from the Hub, and runs programs in the process that
evaluates. While a task is loaded inside :func:`instead_of_evaluates`, it gets this one, which runs them by :mod:`.run`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import evaluate  # type: ignore[import-untyped]
import numpy as np

from luthier.evaluation.programs.run import Outcome, run_program

_NAME = "code_eval"


@dataclass(frozen=True)
class CodeEval:
    """Judges programs; each text is run once.

    Attributes:
        outcomes: Of every program that was run, by its text.
    """

    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def compute(
        self,
        references: Sequence[str],
        predictions: Sequence[Sequence[str]],
        k: Sequence[int] = (1, 10, 100),
        num_workers: int = 1,
        timeout: float = 3.0,
    ) -> tuple[dict[str, float], dict[int, list[tuple[int, dict[str, Any]]]]]:
        """Return pass@k, and how each program ended, as ``code_eval`` does.

        Args:
            references: A test for each problem.
            predictions: Programs for each problem; the test is appended to each.
            k: Of how many programs one must pass; an entry above the number of programs is left out.
            num_workers: Not used: programs run one after another.
            timeout: Not used: see :class:`luthier.evaluation.programs.run.Limits`.
        """
        results: dict[int, list[tuple[int, dict[str, Any]]]] = {}
        for task, (test, candidates) in enumerate(zip(references, predictions, strict=True)):
            ended = [self._outcome(f"{candidate}\n{test}") for candidate in candidates]
            results[task] = [(number, _as_theirs(task, number, own)) for number, own in enumerate(ended)]
        total = np.array([len(own) for own in results.values()])
        right = np.array([sum(one["passed"] for _, one in own) for own in results.values()])
        found = {f"pass@{own}": float(pass_at(total, right, own).mean()) for own in k if (total >= own).all()}
        return found, results

    def _outcome(self, program: str) -> Outcome:
        if program not in self.outcomes:
            self.outcomes[program] = run_program(program)
        return self.outcomes[program]


def _as_theirs(task: int, number: int, ended: Outcome) -> dict[str, Any]:
    return {"task_id": task, "passed": ended.passed, "result": ended.why or "passed", "completion_id": number}


def pass_at(total: Any, right: Any, k: int) -> Any:
    """Return the unbiased estimate of pass@k: ``1 - C(n - c, k) / C(n, k)``, for each problem.

    Args:
        total: Programs of each problem, ``n``, at least ``k``.
        right: Those that pass, ``c``.
        k: Programs of which one must pass.
    """
    return np.array(
        [
            1.0 if n - c < k else 1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1))
            for n, c in zip(total, right, strict=True)
        ]
    )


@contextlib.contextmanager
def instead_of_evaluates(make: Callable[[], CodeEval]) -> Iterator[None]:
    """Let ``evaluate.load("code_eval")`` return what ``make`` does inside."""
    before = evaluate.load
    evaluate.load = partial(_load, before, make)
    try:
        yield
    finally:
        evaluate.load = before


def _load(before: Callable[..., Any], make: Callable[[], CodeEval], path: str, *arguments: Any, **options: Any) -> Any:
    return make() if path == _NAME else before(path, *arguments, **options)


def judges_by_it(function: Any) -> bool:
    """Whether a function of a task calls a :class:`CodeEval`, which its module holds."""
    own = getattr(function, "__self__", function)  # tasks hold the `__call__` of a function
    return any(isinstance(one, CodeEval) for one in getattr(own, "__globals__", {}).values())
