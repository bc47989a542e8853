"""Settings: how an arm is trained."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from luthier.config.base import Fraction, Settings


class TrainingConfig(Settings):
    """How an arm is trained."""

    renamed: ClassVar[Mapping[str, str]] = {
        "final": "final_learning_rate_fraction",
        "evaluations": "validations",
        "reuse_mib": "frozen_cache_mib",
    }

    learning_rate: float | None = Field(default=None, gt=0)
    """The peak learning rate; the method's own default when not given."""
    epochs: float = Field(default=3, gt=0)
    """Passes over the training examples."""
    steps: int | None = Field(default=None, ge=1)
    """Optimizer steps; instead of epochs."""
    batch_size: int = Field(default=16, ge=1)
    """Examples in one optimizer step."""
    micro_tokens: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Tokens in one forward pass; a step is cut into as many as it needs, with the same result. ``auto`` takes as many
    as keep the device busy, and fewer where memory is short or runs out."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after the warm-up."""
    warmup: Fraction = 0.05
    """Share of the steps over which the learning rate rises from 0."""
    final_learning_rate_fraction: Fraction = 0.1
    """The learning rate at the last step, as a fraction of the peak."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled weight decay, on matrices only."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's averaging coefficients."""
    epsilon: float = Field(default=1e-8, gt=0)
    """AdamW's denominator term."""
    clip_norm: float | None = Field(default=1.0, gt=0)
    """The greatest norm of the gradient, to which longer ones are cut; ``null`` for none."""
    validations: int = Field(default=4, ge=0)
    """How many times the validation split is measured; 0 means that the last weights are kept."""
    validation_examples: int = Field(default=64, ge=1)
    """Examples on which validation generates answers."""
    select: Literal["target", "mean", "retained"] = "target"
    """What chooses the best weights at the validations. ``target``: its metric. ``mean``: the mean over the target and
    the other tasks of the mixture (without one, the retained tasks), each as a share of its scale. ``retained``: the
    target's metric, among those weights that keep the share ``retain_at_least`` (0.98 where not given) of what the base
    could do on the retained tasks."""
    patience: int | None = Field(default=None, ge=1)
    """Validations without a gain after which training stops early."""
    checkpoint_seconds: float = Field(default=60, ge=0)
    """Seconds between the checkpoints from which a killed run resumes; 0 writes one after every step."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    frozen_cache_mib: int = Field(default=1024, ge=0)
    """Memory for the hidden states below the first trained block, which later epochs read again; 0 for no cache."""
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = ()
    """Where each line of ``log.jsonl`` is also sent; the packages of trackers are installed separately."""

    @field_validator("micro_tokens", mode="before")
    @classmethod
    def _micro_tokens_are_a_number_or_auto(cls, given: object) -> object:
        """Refuse everything else with one message, instead of one for each member of the union."""
        if given != "auto" and not re.fullmatch(r"0*[1-9]\d*", str(given)):
            raise ValueError("a whole number of at least 1, or auto")
        return given
