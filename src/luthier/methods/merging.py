"""Verified merging: a method's change is folded into the weights, and logits before and after are compared.

Defined where a method's change is a change of weights: LoRA and its like, IA3, selective and full tuning. Bottleneck
adapters and soft prompts compute something that no weights of the base can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from luthier.display import Displayed
from luthier.errors import ModelError
from luthier.kernels.verification import Tolerance, compare, evaluation_mode, logits_tolerance
from luthier.methods.base import Attached
from luthier.models.language_model import LanguageModel
from luthier.records import Encoded


@runtime_checkable
class Mergeable(Protocol):
    """An attached method whose change can be folded into the base's weights.

    Attributes:
        in_place: Whether the change is in the weights already, so that merging computes nothing.
    """

    in_place: ClassVar[bool]

    def merge(self) -> Callable[[], None]:
        """Fold the change in and detach; the returned function restores the base bit for bit and attaches again."""


@dataclass(frozen=True)
class Merged(Displayed):
    """The result of a verified merge.

    Attributes:
        greatest_difference: Of any logit of the sample, before against after.
        tolerance: The greatest that was allowed.
        metric_before: On a sample, unmerged; None when not asked for.
        metric_after: The same, merged.
        undo: Restores the base, bit for bit, and attaches the method again.
        examples: Of the sample.
        metric: What the metric is called; "" when not asked for.
    """

    view: ClassVar[str] = "merged"

    greatest_difference: float
    tolerance: float
    metric_before: float | None
    metric_after: float | None
    undo: Callable[[], None]
    examples: int = 0
    metric: str = ""

    def __repr__(self) -> str:
        return f"<Merged: logits differ by {self.greatest_difference:.2g} at most, {self.tolerance:.2g} were allowed>"


def merge(
    model: LanguageModel,
    attached: Attached,
    sample: Sequence[Encoded],
    *,
    metric: Callable[[], float] | None = None,
    tolerance: Tolerance | None = None,
) -> Merged:
    """Fold an attached method into the model's weights.

    Args:
        model: The method is attached to it.
        attached: The method.
        sample: The logits after each prompt and the log-probabilities of each target are compared.
        metric: Measures the model on a sample, before and after.
        tolerance: How the two are compared; by default the policy for logits on the model's device.

    Raises:
        ModelError: When the method cannot be merged, or the logits differ by more; nothing is changed then.
    """
    if not isinstance(attached, Mergeable):
        raise ModelError(
            "this method computes beside the weights, so it cannot be merged into them",
            fix="Keep it as it is; lora, ia3, selective and full can be merged.",
        )
    before, measured = outputs_of(model, sample), metric() if metric else None
    undo = attached.merge()
    verified = compare(outputs_of(model, sample), before, tolerance or logits_tolerance(model.device))
    worst, allowed = verified.difference, verified.allowed
    if not verified.agrees:
        undo()
        raise ModelError(
            f"merged, the model gives other logits (greatest difference {worst:.3g}, allowed {allowed:.3g})",
            fix="Keep the adapter unmerged, or merge into weights of a higher precision.",
        )
    return Merged(worst, allowed, measured, metric() if metric else None, undo, len(sample))


def outputs_of(model: LanguageModel, sample: Sequence[Encoded]) -> Tensor:
    """Return what is compared: float32 logits after each prompt, then the log-probabilities (nats) of the targets."""
    with evaluation_mode(model.module):
        outputs = [model.begin([item.prompt_ids]).logits.flatten() for item in sample]
        outputs += [model.target_logprobs([item]) for item in sample]
    return torch.cat(outputs)
