"""Cross-entropy on the target: the objective of supervised fine-tuning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from luthier.config.base import Settings
from luthier.data.encoding import Encoder
from luthier.models.language_model import LanguageModel
from luthier.objectives.objective import LossSum, MicroBatch
from luthier.records import Dropped, Encoded, Example


class CrossEntropySettings(Settings):
    """Cross-entropy has no settings."""


@dataclass(frozen=True)
class CrossEntropy:
    """The negative log-likelihood of the target tokens, in nats; a record is an encoded example."""

    name: ClassVar[str] = "cross_entropy"
    settings_class: ClassVar[type[Settings]] = CrossEntropySettings
    settings: Settings = field(default_factory=CrossEntropySettings)

    @property
    def needs_reference(self) -> bool:
        """It reads the trained model alone."""
        return False

    def prepare(self, examples: Iterable[Example], encoder: Encoder) -> Iterator[Encoded | Dropped]:
        """Encode the prompt and the first target of each example."""
        return encoder.stream(examples)

    def sequences(self, record: Encoded) -> Sequence[Encoded]:
        """Return the record itself."""
        return (record,)

    def tokens(self, record: Encoded) -> int:
        """Return the tokens of prompt and target."""
        return len(record.prompt_ids) + len(record.target_ids)

    def fitted(self, records: Sequence[Encoded], reference: Sequence[Tensor]) -> CrossEntropy:
        """Return itself: a record's loss does not depend on the others."""
        return self

    def normaliser(self, step: Sequence[Encoded]) -> float:
        """Return the supervised tokens of a step."""
        return target_tokens(step)

    def loss(self, model: LanguageModel, batch: MicroBatch[Encoded]) -> LossSum:
        """Return the sum of the negative log-probabilities (nats) of the target tokens."""
        return LossSum(cross_entropy(model, batch.records))


def cross_entropy(model: LanguageModel, batch: Sequence[Encoded]) -> Tensor:
    """Sum of the negative log-probabilities (nats) of the target tokens: a float32 scalar."""
    return -model.target_logprobs(batch).sum()


def target_tokens(batch: Sequence[Encoded]) -> int:
    """Number of target tokens; every one of them is supervised."""
    return sum(len(item.target_ids) for item in batch)
