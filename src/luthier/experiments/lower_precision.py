"""What a lower precision of matrix products changes: the base answers some examples in both, and the run says it.

The base answers the first examples of the test split, and scores their references, once as the run computes and once in
float32. Both differences are paired, example by example.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from luthier.evaluation.context import EvaluationContext
from luthier.evaluation.jobs import EvaluationJob, task_job
from luthier.evaluation.prepared_task import PreparedTask, of_references
from luthier.evaluation.run import read_log, run
from luthier.experiments.plan import Plan, name_of_run
from luthier.files.store import About
from luthier.metrics.task_metrics import TOKEN_LOSS
from luthier.results.records import LowerPrecision
from luthier.results.scores import change

EXAMPLES = 32
"""Of the test split, at most, that are answered in both precisions."""


@dataclass(frozen=True, slots=True)
class PrecisionJobs:
    """The answers that are compared, each as the run computes and in float32.

    Attributes:
        answers: To the task.
        references: Log-probabilities of the references.
    """

    answers: tuple[EvaluationJob, EvaluationJob]
    references: tuple[EvaluationJob, EvaluationJob]

    @property
    def in_order(self) -> tuple[EvaluationJob, ...]:
        """All of them."""
        return (*self.answers, *self.references)

    @property
    def finished(self) -> bool:
        """Whether all of it lies in the store."""
        return all(job.entry.finished for job in self.in_order)


def computes_lower(plan: Plan) -> bool:
    """Whether a run multiplies in a lower precision than its weights have."""
    return plan.model.products is not None


def precision_jobs(plan: Plan) -> PrecisionJobs:
    """Return what is answered in both precisions."""
    sample = replace(plan.target, examples=plan.target.examples[:EXAMPLES])
    return PrecisionJobs(_in_both(plan, sample, "answers"), _in_both(plan, of_references(sample), "loss"))


def compare_precisions(plan: Plan) -> None:
    """Answer in both precisions what has not been answered; the model must be bare."""
    jobs = precision_jobs(plan)
    for lower, full in (jobs.answers, jobs.references):
        run(lower)
        with plan.model.in_precision(None):
            run(full)


def read_lower_precision(plan: Plan) -> LowerPrecision | None:
    """Return what the lower precision changes; None where the run computes in float32.

    Raises:
        StoreError: When an answer is damaged.
    """
    if not computes_lower(plan):
        return None
    jobs, scoring = precision_jobs(plan), plan.config.evaluation
    lower, full = (read_log(job).predictions for job in jobs.answers)
    lower_loss, full_loss = (read_log(job).predictions for job in jobs.references)
    return LowerPrecision(
        precision=plan.model.product_type,
        examples=len(lower),
        metric=plan.target.metrics.primary,
        metric_change=change(lower, full, plan.target.metrics, scoring),
        loss_change=change(lower_loss, full_loss, TOKEN_LOSS, scoring),
        same_answers=sum(a.text == b.text for a, b in zip(lower, full, strict=True)),
    )


def _in_both(plan: Plan, prepared: PreparedTask, what: str) -> tuple[EvaluationJob, EvaluationJob]:
    evaluation, about = plan.config.evaluation, About(arm="base", run=name_of_run(plan))
    context = EvaluationContext(
        plan.config.runs, "", plan.config.decoding, evaluation.batch_tokens, cache=False, about=about
    )
    lower = task_job(plan.model, prepared, context, label=f"base, {what} in {plan.model.product_type}")
    with plan.model.in_precision(None):
        return lower, task_job(plan.model, prepared, context, label=f"base, {what} in float32")
