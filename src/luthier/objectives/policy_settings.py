"""What is asked of the answers that a model learns from by what they are worth."""

from __future__ import annotations

from pydantic import Field

from luthier.config.base import Name, Settings


class PolicySettings(Settings):
    """Settings of every objective on rewards."""

    reward: Name
    """What an answer is worth: a metric (``exact_match``), a function of yours (``my_rewards.py:brevity``), or a sum of
    them with weights (``0.8 * rougeL + 0.2 * chrf``)."""
    samples: int = Field(default=8, ge=2, le=1024)
    """Answers that are drawn to each prompt; ``training.batch_size`` counts the prompts of a step."""
    beta: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """β: weight of the divergence from the start, in nats; 0 measures none and needs no reference."""
    clip: float = Field(default=0.2, gt=0, allow_inf_nan=False)
    """ε: a ratio of probabilities counts up to 1 + ε and down to 1 − ε; it is 1 where ``updates`` is 1."""
    updates: int = Field(default=1, ge=1)
    """Optimizer steps on the same answers; of more than one, each counts as a step of the training."""
