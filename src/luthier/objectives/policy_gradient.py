"""What objectives on rewards share: the model draws answers, and those that are worth more become likelier.

There is no critic: an answer is compared with the other answers to its prompt.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from luthier.data.attempts import Attempt, Drawn, attempts_of
from luthier.data.encoding import Encoder
from luthier.models.language_model import LanguageModel
from luthier.objectives.objective import LossSum, MicroBatch
from luthier.objectives.policy_settings import PolicySettings
from luthier.records import Dropped, Encoded, Example

FloatArray = npt.NDArray[np.float64]
P = TypeVar("P", bound="PolicyGradient")


@dataclass(frozen=True)
class PolicyGradient(ABC):
    """−min(ratio · A, clipped ratio · A) + β · KL, where A is the advantage of an answer over those beside it.

    Of KL the k3 estimator is taken (Schulman 2020): e^d − d − 1 of each token, d the reference's log-probability minus
    the model's, times the token's ratio, which makes its gradient that of the divergence (DeepSeek-V3.2,
    arXiv:2512.02556; TRL's default). The reference is the start. Dropout is off.

    Before answers are drawn, the loss of a record is the negative log-likelihood of its target: so the validation loss
    is that of supervised tuning.

    Attributes:
        by_token: Whether a ratio is that of a token and the loss is divided by the tokens of all answers of the step;
            otherwise a ratio is that of an answer, and the loss is divided by the answers.
    """

    name: ClassVar[str]
    by_token: ClassVar[bool]
    settings: PolicySettings

    settings_class: ClassVar[type[PolicySettings]] = PolicySettings
    learns_from: ClassVar[str] = "prompts"
    rate_factor: ClassVar[float] = 0.1
    needs_reference: ClassVar[bool] = False  # answers are not known before: each step has a reference of its own

    @abstractmethod
    def advantages(self, rewards: FloatArray) -> FloatArray:
        """Return the advantage of each answer.

        Args:
            rewards: float64 ``(prompts, samples)``; NaN where an answer has none.

        Returns:
            float64 ``(prompts, samples)``: 0 where an answer has no reward, or all to its prompt have the same.
        """

    @abstractmethod
    def log_ratios(self, tokens: Tensor, lengths: Sequence[int]) -> Tensor:
        """Return what is clipped, of each token or of each answer, from the log-ratios of tokens, answer by answer."""

    def prepare(self, examples: Iterable[Example], encoder: Encoder) -> Iterator[Attempt | Dropped]:
        """Encode the prompt and the first target of each example."""
        return attempts_of(examples, encoder)

    def sequences(self, record: Attempt) -> Sequence[Encoded]:
        """Return the prompt with its answer."""
        return (record.answer,)

    def tokens(self, record: Attempt) -> int:
        """Return the tokens of both."""
        return len(record.answer.prompt_ids) + len(record.answer.target_ids)

    def fitted(self: P, records: Sequence[Attempt], reference: Sequence[Tensor]) -> P:
        """Return itself."""
        return self

    def of_step(self: P, model: LanguageModel, batches: Sequence[MicroBatch[Attempt]]) -> P:
        """Return itself: advantages are those of the groups, and known."""
        return self

    def normaliser(self, step: Sequence[Attempt]) -> float:
        """Return the tokens of all answers of a step, or the answers; of targets always the tokens."""
        if self.by_token or any(record.drawn is None for record in step):
            return _answer_tokens(step)
        return len(step)

    def loss(self, model: LanguageModel, batch: MicroBatch[Attempt]) -> LossSum:
        """Return the sum of the losses of answers, and what the log shows of them."""
        places = self._learned(batch)
        if not places:
            return LossSum(-model.target_logprobs([record.answer for record in batch.records]).sum())
        groups = _by_prompt(batch.records, places)
        order = [place for group in groups for place in group]
        answers = [batch.records[place].answer for place in order]
        drawn = [own for place in order if (own := batch.records[place].drawn) is not None]
        lengths = [len(answer.target_ids) for answer in answers]
        logprobs = model.branch_logprobs([[batch.records[place].answer for place in group] for group in groups])
        moved = logprobs - _old(drawn, logprobs)
        ratios = torch.exp(self.log_ratios(moved, lengths))
        gained = self._of_each(ratios, drawn, lengths)
        total = -torch.minimum(ratios * gained, self._clipped(ratios) * gained).sum()
        quantities: dict[str, float] = {}
        if self.settings.updates > 1:
            quantities["clipped"] = float((self._clipped(ratios) * gained < ratios * gained).sum())
        if batch.reference:
            gap = torch.cat([batch.reference[place] for place in order]) - logprobs
            divergence = torch.expm1(gap) - gap
            total = total + self.settings.beta * (torch.exp(moved) * divergence).sum()
            # The log divides by the normaliser; this is to be that of a token, whatever the objective.
            per_token = self.normaliser(batch.step) / _answer_tokens(batch.step)
            quantities["kl"] = float(divergence.detach().sum()) * per_token
        return LossSum(total, quantities)

    def _learned(self, batch: MicroBatch[Attempt]) -> list[int]:
        """Return the places of the answers that change the loss, at least one; none of targets."""
        drawn = [own for record in batch.records if (own := record.drawn) is not None]
        if len(drawn) < len(batch.records):
            return []
        every = list(range(len(drawn)))
        return every if batch.reference else [place for place in every if drawn[place].advantage] or every[:1]

    def _of_each(self, ratios: Tensor, drawn: Sequence[Drawn], lengths: Sequence[int]) -> Tensor:
        """Return the advantage of each token or of each answer."""
        advantages = ratios.new_tensor([own.advantage for own in drawn])
        if not self.by_token:
            return advantages
        return advantages.repeat_interleave(torch.tensor(lengths, device=ratios.device))

    def _clipped(self, ratios: Tensor) -> Tensor:
        return ratios.clamp(1 - self.settings.clip, 1 + self.settings.clip)


def deviations(rewards: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return by how much each reward is above the mean of its prompt's, and how many of a prompt's are known.

    Returns:
        float64 ``(prompts, samples)``, 0 where a reward is NaN or all of a prompt's are the same, and float64
        ``(prompts, 1)``, at least 2 where there is any deviation.
    """
    known = ~np.isnan(rewards)
    count = known.sum(axis=1, keepdims=True).astype(np.float64)
    filled = np.where(known, rewards, 0.0)
    mean = filled.sum(axis=1, keepdims=True) / np.maximum(count, 1)
    least, most = np.where(known, rewards, np.inf).min(1), np.where(known, rewards, -np.inf).max(1)
    differ = known & (least < most)[:, None]
    return np.where(differ, filled - mean, 0.0), count


def _by_prompt(records: Sequence[Attempt], places: Sequence[int]) -> list[list[int]]:
    """Return the places of answers in groups of one prompt, which is computed once."""
    groups: dict[str, list[int]] = {}
    for place in places:
        groups.setdefault(records[place].example.id, []).append(place)
    return list(groups.values())


def _old(drawn: Sequence[Drawn], logprobs: Tensor) -> Tensor:
    """Return the log-probabilities of tokens when they were drawn: the model's own where it has not moved since."""
    known = [value for own in drawn for value in own.old]
    return logprobs.new_tensor(known) if known else logprobs.detach()


def _answer_tokens(records: Sequence[Attempt]) -> int:
    return sum(len(record.answer.target_ids) for record in records)
