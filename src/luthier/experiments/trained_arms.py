"""Arms of a plan, trained: with the hyper-parameters that a search chose, once per seed."""

from __future__ import annotations

from dataclasses import replace

from luthier.config.arms import Arm
from luthier.experiments.plan import Plan, name_of_run
from luthier.experiments.starts import folder_start, names_arm
from luthier.files.store import Entry
from luthier.records import Encoded
from luthier.training.job import TrainingJob, make_job
from luthier.training.start import StartingPoint, finished_training
from luthier.training.train_arm import OnValidation, train_arm
from luthier.training.trained import Trained, read_trained
from luthier.training.training_task import training_task


def job_of(plan: Plan, arm: Arm, seed: int) -> TrainingJob[Encoded]:
    """Return the training of an arm with one seed: everything that its result depends on."""
    config, target = plan.config, plan.target
    tokens = config.evaluation.batch_tokens
    task = training_task(target.task, target.encoder, config.decoding, batch_tokens=tokens, encoding=config.data)
    start = _start_of(plan, arm, seed)
    job = make_job(plan.model, arm, task, plan.training.of(arm), seed=seed, start=start)
    name = f"{arm.name}, seed {seed}" if len(arm.seeds) > 1 else arm.name
    return replace(job, name=name, run=name_of_run(plan))


def _start_of(plan: Plan, arm: Arm, seed: int) -> StartingPoint | None:
    """Return what an arm begins with: the stage before, another arm, the adapter in a folder, or the base."""
    if plan.before is not None:
        return finished_training(entry_of(plan.before, plan.before.arm(arm.name), seed))
    if not arm.start:
        return None
    if names_arm(arm, plan.arms):
        return finished_training(entry_of(plan, plan.arm(arm.start), seed))
    return folder_start(arm)


def train(plan: Plan, arm: Arm, seed: int, *, on_validation: OnValidation | None = None) -> Trained:
    """Train an arm of a plan with one seed, or find it in the store; see :func:`luthier.training.train_arm.train_arm`.

    Args:
        plan: What was read and checked.
        arm: With the hyper-parameters that it is trained with.
        seed: Of its random weights, data order and dropout.
        on_validation: See there.
    """
    return train_arm(plan.model, job_of(plan, arm, seed), out=plan.config.runs, on_validation=on_validation)


def entry_of(plan: Plan, arm: Arm, seed: int) -> Entry:
    """Return the place of an arm, trained with one seed, in the store; it may not be there yet."""
    return job_of(plan, arm, seed).entry(plan.config.runs)


def trained(plan: Plan, arm: Arm, seed: int) -> Trained:
    """Read an arm that was trained with one seed.

    Raises:
        StoreError: When it is damaged, or not there.
    """
    return read_trained(entry_of(plan, arm, seed))
