"""The data of an arm as a stream of optimizer steps: the records of step k can be found again from k alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Generic, Protocol, overload

import numpy as np
from torch import Tensor

from luthier.config.training import TrainingConfig
from luthier.data.batching import plan_steps
from luthier.data.encoding import Encoder
from luthier.data.quotas import QuotaOrder
from luthier.files.digests import digest
from luthier.objectives.objective import LearnsFromOwnAnswers, Objective, R
from luthier.records import Dropped, Example

_SAMPLE = 64
"""Records that stand for all where those are made as they are read."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A number of records that come from one place, such as a task."""

    name: str
    records: int


class LazyRecords(Sequence[R]):
    """Records that are made each time that they are read, perhaps in other words at each visit.

    Args:
        count: How many there are.
        make: Returns a record by its place, as it is read at a visit (from 0).
    """

    def __init__(self, count: int, make: Callable[[int, int], R]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> R: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[R]: ...
    def __getitem__(self, place: int | slice) -> R | Sequence[R]:
        if isinstance(place, slice):
            return [self._make(own, 0) for own in range(self._count)[place]]
        return self._make(range(self._count)[place], 0)

    def at_visit(self, place: int, visit: int) -> R:
        """Return a record as it is read at a visit (from 0)."""
        return self._make(place, visit)

    def sample(self) -> list[R]:
        """Return a few, spread over all of them."""
        places = np.unique(np.linspace(0, self._count - 1, min(_SAMPLE, self._count)).astype(int))
        return [self._make(int(place), 0) for place in places]


@dataclass(frozen=True, slots=True)
class TrainingSet(Generic[R]):
    """The records that an arm learns from.

    Attributes:
        records: In a fixed order.
        digest: Of their contents, in order.
        origins: Where they come from, in their order.
        quotas: Records of each origin in an epoch; None where an epoch has every record once.
    """

    records: Sequence[R]
    digest: str
    origins: tuple[Origin, ...]
    quotas: tuple[int, ...] | None = None

    @property
    def at_once(self) -> Sequence[R]:
        """All records where they are in memory; none where they are made as they are read."""
        return () if isinstance(self.records, LazyRecords) else self.records

    @property
    def some(self) -> Sequence[R]:
        """All records, or a few where they are made as they are read."""
        return self.records.sample() if isinstance(self.records, LazyRecords) else self.records


@dataclass(frozen=True, slots=True)
class PreparedRecords(Generic[R]):
    """What became of some examples.

    Attributes:
        records: Of those that fit.
        dropped: Those that do not fit, and why.
        cut: Records whose input text was cut to fit.
    """

    records: tuple[R, ...]
    dropped: tuple[Dropped, ...]
    cut: int


def prepare_records(objective: Objective[R], examples: Iterable[Example], encoder: Encoder) -> PreparedRecords[R]:
    """Turn examples into the records of an objective, and count what was cut and dropped."""
    records: list[R] = []
    dropped: list[Dropped] = []
    for item in objective.prepare(examples, encoder):
        if isinstance(item, Dropped):
            dropped.append(item)
        else:
            records.append(item)
    cut = sum(any(sequence.cut_tokens for sequence in objective.sequences(record)) for record in records)
    return PreparedRecords(tuple(records), tuple(dropped), cut)


def training_set(name: str, records: Iterable[R]) -> TrainingSet[R]:
    """Return the records that come from one place."""
    kept = tuple(records)
    return TrainingSet(kept, digest_records(kept), (Origin(name, len(kept)),))


def with_replay(target: TrainingSet[R], replayed: TrainingSet[R]) -> TrainingSet[R]:
    """Return the records of the target and, after them, those of other tasks: the simplest mixture."""
    return TrainingSet(
        (*target.records, *replayed.records),
        digest([target.digest, replayed.digest]),
        (*target.origins, *replayed.origins),
    )


def with_quotas(data: TrainingSet[R], quotas: tuple[int, ...]) -> TrainingSet[R]:
    """Return the same records, of which an epoch has so many of each origin."""
    return replace(data, quotas=quotas)


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of prompts and targets that some steps read.

    Attributes:
        read: In all.
        distinct: The same, with the tokens of each record counted once.
    """

    read: int
    distinct: int


class StepOrder(Protocol):
    """Which records make each optimizer step."""

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""

    @property
    def passes(self) -> float:
        """How often a record is read, on average."""

    @property
    def digest(self) -> str:
        """Of everything that decides the order."""

    def indices(self, step: int) -> Sequence[int]:
        """Return the records of a step (from 0), found from its number alone."""

    def visits(self, step: int) -> Sequence[tuple[int, int]]:
        """Return the same, each with how often it was read before."""


@dataclass(frozen=True, slots=True)
class StepRecords(Generic[R]):
    """What an optimizer step learns from.

    Attributes:
        records: Of the step.
        reference: For each of them the log-probabilities of the reference; empty where there is none.
        quantities: What the log says of them; None where it was not measured.
    """

    records: Sequence[R]
    reference: Sequence[Tensor] = ()
    quantities: Mapping[str, float | None] = field(default_factory=dict)


class RecordMaker(Protocol[R]):
    """Makes the records of a step of those of the stream, with the model as it is at that step."""

    def of_step(self, stream: StepStream[R], step: int) -> StepRecords[R]:
        """Return what a step (from 0) learns from."""


@dataclass(frozen=True, slots=True)
class StepStream(Generic[R]):
    """Optimizer steps over a training set.

    Attributes:
        data: The records.
        order: Which of them make each step.
        reference: For each record the log-probabilities of the reference; empty where the objective needs none.
        maker: Makes the records of each step, when it comes, of those that are in it; None where they are learned from
            as they are.
    """

    data: TrainingSet[R]
    order: StepOrder
    reference: Sequence[Tensor] = ()
    maker: RecordMaker[R] | None = None

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return self.order.steps

    @property
    def digest(self) -> str:
        """Of the records and their order."""
        return digest([self.data.digest, self.order.digest])

    def indices(self, step: int) -> Sequence[int]:
        """Return the places of a step's records (from step 0) in the training set."""
        return self.order.indices(step)

    def records(self, step: int) -> list[R]:
        """Return a step's records (from step 0)."""
        records = self.data.records
        if isinstance(records, LazyRecords):
            return [records.at_visit(place, visit) for place, visit in self.order.visits(step)]
        return [records[place] for place in self.indices(step)]

    def of_step(self, step: int) -> StepRecords[R]:
        """Return what a step (from 0) learns from: its records, or what is made of them with the model as it is."""
        if self.maker is not None:
            return self.maker.of_step(self, step)
        return StepRecords(self.records(step), self.references(step))

    def references(self, step: int) -> list[Tensor]:
        """Return the reference's log-probabilities of a step's records; nothing where there are none."""
        return [self.reference[place] for place in self.indices(step)] if self.reference else []


def shuffled_stream(data: TrainingSet[R], config: TrainingConfig, *, seed: int) -> StepStream[R]:
    """Return a stream that reads all records in every epoch, or as many as its quotas say, in a new order each time."""
    if data.quotas is None:
        return StepStream(data, plan_steps(len(data.records), config, seed=seed))
    steps = plan_steps(sum(data.quotas), config, seed=seed)
    sizes = tuple(origin.records for origin in data.origins)
    return StepStream(data, QuotaOrder(sizes, data.quotas, steps.batch_size, steps.steps, seed))


def count_tokens(stream: StepStream[R], objective: Objective[R], *, first: int = 0) -> TokenCounts:
    """Count the tokens that the steps of a stream read, from step ``first`` on.

    Where records are made as they are read, the count is that of a few of them, multiplied. Where the model draws
    answers to them, these are counted as long as the targets.
    """
    answers = objective.settings.samples if isinstance(objective, LearnsFromOwnAnswers) else 1
    if not stream.data.at_once:
        some = [objective.tokens(record) for record in stream.data.some]
        read = (stream.steps - first) * len(stream.indices(0)) * sum(some) // max(1, len(some))
        return TokenCounts(read, min(read, len(stream.data.records) * sum(some) // max(1, len(some))))
    lengths = np.array([objective.tokens(record) for record in stream.data.records], dtype=np.int64)
    places = [place for step in range(first, stream.steps) for place in stream.indices(step)]
    distinct = np.unique(np.array(places, dtype=np.int64))
    read = int(lengths[places].sum()) if places else 0
    return TokenCounts(answers * read, answers * int(lengths[distinct].sum()))


def digest_records(records: Iterable[Any]) -> str:
    """Return a digest of everything in the records, in order.

    Args:
        records: Frozen dataclasses of numbers, strings, NumPy arrays, tuples of such, and dataclasses.

    Raises:
        TypeError: A record holds something else.
    """
    hashed = blake2b(digest_size=16)
    for record in records:
        _update(hashed, record)
    return hashed.hexdigest()


def _update(hashed: blake2b, value: Any) -> None:
    if isinstance(value, np.ndarray):
        hashed.update(f"{value.dtype.str}{value.shape}".encode())
        hashed.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, str | int | float | None):
        text = repr(value).encode("utf-8", "surrogatepass")
        hashed.update(b"%d:" % len(text) + text)
    elif isinstance(value, tuple):
        hashed.update(b"%d(" % len(value))
        for item in value:
            _update(hashed, item)
    elif dataclasses.is_dataclass(value):
        hashed.update(type(value).__name__.encode() + b"{")
        for field in dataclasses.fields(value):
            _update(hashed, getattr(value, field.name))
    else:
        raise TypeError(f"a record holds a {type(value).__name__}, which has no digest")
