"""What is known of an arm on held-out pairs of answers, as a frozen record."""

from __future__ import annotations

from dataclasses import dataclass

from luthier.records import Score
from luthier.results.change import Change


@dataclass(frozen=True, slots=True)
class PreferenceResult:
    """An arm on the pairs of the target's test split. Log-probabilities are sums over an answer, in nats.

    Attributes:
        before: Share of the pairs whose chosen answer the base finds likelier than the rejected one.
        accuracy: The same of the arm.
        change: ``accuracy - before``, paired.
        accuracy_by_token: Share of the pairs whose chosen answer has the higher mean log-probability of a token.
        margin: Mean of what the log-ratio of the chosen answer, arm to base, is above that of the rejected one.
        gained: Share of the pairs in which it is above.
        chosen_fell: Share of the pairs whose chosen answer became less likely than the base finds it.
    """

    before: Score
    accuracy: Score
    change: Change
    accuracy_by_token: Score
    margin: Score
    gained: Score
    chosen_fell: Score
