"""Arms of a plan, trained: with the hyper-parameters that a search chose, once per seed."""

from __future__ import annotations

from dataclasses import replace

from luthier.config.arms import Arm
from luthier.experiments.plan import Plan, training_of
from luthier.files.store import Entry
from luthier.training.train_arm import Trained, Watch, read_trained, train_arm, training_entry


def train(plan: Plan, arm: Arm, seed: int, *, watch: Watch | None = None) -> Trained:
    """Train an arm of a plan with one seed, or find it in the store; see :func:`luthier.training.train_arm.train_arm`.

    Args:
        plan: What was read and checked.
        arm: With the hyper-parameters that it is trained with.
        seed: Of its random weights, data order and dropout.
        watch: See there.
    """
    return train_arm(
        plan.model,
        plan.target.encoder,
        plan.target.task,
        training_of(plan, arm),
        replace(arm, seeds=(seed,)),
        out=plan.config.out,
        decoding=plan.config.decoding,
        evaluation=plan.config.evaluation,
        watch=watch,
    )


def entry_of(plan: Plan, arm: Arm, seed: int) -> Entry:
    """Return the place of an arm, trained with one seed, in the store; it may not be there yet."""
    return training_entry(
        plan.model,
        plan.target.encoder,
        plan.target.task,
        training_of(plan, arm),
        replace(arm, seeds=(seed,)),
        out=plan.config.out,
        decoding=plan.config.decoding,
    )


def trained(plan: Plan, arm: Arm, seed: int) -> Trained:
    """Read an arm that was trained with one seed.

    Raises:
        StoreError: When it is damaged, or not there.
    """
    return read_trained(entry_of(plan, arm, seed))
