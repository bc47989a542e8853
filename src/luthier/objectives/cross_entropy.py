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

    learns_from: ClassVar[str] = "examples"
    rate_factor: ClassVar[float] = 1.0

    @property
    def needs_reference(self) -> bool:
        """It reads the trained model alone."""
        return False

    def prepare(self, examples: Iterable[Example], encoder: Encoder) -> Iterator[Encoded | Dropped]:
        """Encode the prompt and the first target of each example that has one; of preferences, each answer once."""
        return encoder.stream(_learned(examples))

    def sequences(self, record: Encoded) -> Sequence[Encoded]:
        """Return the record itself."""
        return (record,)

    def tokens(self, record: Encoded) -> int:
        """Return the tokens of prompt and target."""
        return len(record.prompt_ids) + len(record.target_ids)

    def fitted(self, records: Sequence[Encoded], reference: Sequence[Tensor]) -> CrossEntropy:
        """Return itself: a record's loss does not depend on the others."""
        return self

    def of_step(self, model: LanguageModel, batches: Sequence[MicroBatch[Encoded]]) -> CrossEntropy:
        """Return itself, likewise."""
        return self

    def normaliser(self, step: Sequence[Encoded]) -> float:
        """Return the supervised tokens of a step."""
        return target_tokens(step)

    def loss(self, model: LanguageModel, batch: MicroBatch[Encoded]) -> LossSum:
        """Return the sum of the negative log-probabilities (nats) of the target tokens."""
        return LossSum(cross_entropy(model, batch.records))


def _learned(examples: Iterable[Example]) -> Iterator[Example]:
    """Yield the examples that have a target; an answer that is chosen over several others is learned once."""
    seen = set[tuple[object, ...]]()
    for example in examples:
        if not example.rejected:
            yield example
        elif example.targets:
            asked = (example.system, example.turns, example.messages, example.prompt, example.targets)
            if asked not in seen:
                seen.add(asked)
                yield example


def cross_entropy(model: LanguageModel, batch: Sequence[Encoded]) -> Tensor:
    """Sum of the negative log-probabilities (nats) of the target tokens: a float32 scalar."""
    return -model.target_logprobs(batch).sum()


def target_tokens(batch: Sequence[Encoded]) -> int:
    """Number of target tokens; every one of them is supervised."""
    return sum(len(item.target_ids) for item in batch)
