"""Several tasks and texts in one training set: each with its share, rendered and tokenised as it is read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, Protocol, TypeAlias

import numpy as np

from luthier.config.data import TrainingDataConfig
from luthier.data.encoding import Encoder
from luthier.data.quotas import mixing_rates, normalised, quotas
from luthier.data.shares import Measured, shares
from luthier.data.text_windows import text_windows
from luthier.errors import DataError, LuthierError, collecting, raise_faults
from luthier.files.digests import digest
from luthier.records import Encoded
from luthier.shares import Share
from luthier.tasks.held_out_text import load_texts
from luthier.tasks.loader import load_task, with_data_settings
from luthier.tasks.mixture_spec import MixtureSource, MixtureSpec
from luthier.tasks.schema import Task
from luthier.tasks.training_rows import TrainingRows

MakeEncoder: TypeAlias = Callable[[Task], Encoder]
"""Returns the model's encoder for a task."""

_SAMPLE = 128
"""Examples of a source by which its lengths are known before training."""


@dataclass(frozen=True, slots=True)
class Reader:
    """How a model reads what it is trained on.

    Attributes:
        tokenizer: A Hugging Face tokenizer.
        encoder_decoder: Whether the model is an encoder-decoder.
        max_length: Tokens that fit.
        encoder_of: Makes the encoder of a task.
    """

    tokenizer: Any
    encoder_decoder: bool
    max_length: int
    encoder_of: MakeEncoder


class Source(Protocol):
    """One source of a mixture.

    Attributes:
        name: What tables call it.
        digest: Of everything that its records depend on.
        overlapping: Examples that were left out because their text is measured on.
    """

    name: str
    digest: str
    overlapping: int

    def __len__(self) -> int:
        """Return its examples."""

    def record(self, place: int, visit: int) -> Encoded | None:
        """Return an example as it is read at a visit (from 0); None where it does not fit."""


class TaskSource:
    """The training split of a task.

    Args:
        rows: Its rows.
        encoder: Encodes them.
        origin: What its records say of where they come from; "" for the target.
    """

    def __init__(self, rows: TrainingRows, encoder: Encoder, origin: str) -> None:
        self._rows, self._encoder, self._origin = rows, encoder, origin
        self.name = rows.task.name
        self.overlapping = rows.overlapping
        self.digest = digest([rows.digest, encoder.signature])

    def __len__(self) -> int:
        return len(self._rows)

    def record(self, place: int, visit: int) -> Encoded | None:
        """See :class:`Source`."""
        example = self._rows.example(place, visit)
        while example is not None:
            found = self._encoder.encode(example)
            if isinstance(found, Encoded) and (not example.turns or not found.cut_tokens):
                return replace(found, origin=self._origin)
            if not example.turns:
                return None
            # Of exemplars that do not fit the first is left out, never tokens of the example.
            example = replace(example, turns=example.turns[1:])
        return None


class TextSource:
    """Plain text: a document is an example, and each visit reads another window of it."""

    def __init__(self, name: str, texts: Sequence[str], reader: Reader) -> None:
        self.name, self._texts, self._reader = name, texts, reader
        self.overlapping = 0
        self.digest = digest([list(texts), reader.max_length])

    def __len__(self) -> int:
        return len(self._texts)

    def record(self, place: int, visit: int) -> Encoded | None:
        """See :class:`Source`."""
        reader = self._reader
        windows = text_windows(
            reader.tokenizer,
            self._texts[place],
            encoder_decoder=reader.encoder_decoder,
            max_length=reader.max_length,
            name=f"{self.name}-{place}",
        )
        return replace(windows[visit % len(windows)], origin=self.name) if windows else None


@dataclass(frozen=True)
class Mixture:
    """A training set of several sources.

    Attributes:
        name: What tables call it.
        sources: In the order of the file.
        shares: Of each of them.
    """

    name: str
    sources: tuple[Source, ...]
    shares: tuple[Share, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Examples of each source."""
        return tuple(share.examples for share in self.shares)

    @property
    def quotas(self) -> tuple[int, ...]:
        """Examples of each source in an epoch."""
        return tuple(share.quota for share in self.shares)

    @cached_property
    def digest(self) -> str:
        """Of everything that its records depend on, but not on what order they are read in."""
        return digest([[source.name, source.digest] for source in self.sources])

    def record(self, place: int, visit: int) -> Encoded:
        """Return a record by its place among those of all sources, as it is read at a visit (from 0).

        Where the example does not fit, the next of its source that does takes its place.
        """
        number = bisect_right(self._ends, place)
        start = self._ends[number - 1] if number else 0
        return first_that_fits(self.sources[number], place - start, visit)

    @cached_property
    def _ends(self) -> tuple[int, ...]:
        """Where each source ends among the records of all."""
        return tuple(accumulate(self.sizes))


class PartOfSource:
    """Some of the examples of a source, in an order of their own; see :class:`Source`.

    Args:
        source: The source.
        places: Of the examples.
        name: What decides them, for the digest.
    """

    def __init__(self, source: Source, places: Sequence[int], name: str) -> None:
        self._source, self._places = source, places
        self.name, self.overlapping = source.name, source.overlapping
        self.digest = digest([source.digest, name, len(places)])

    def __len__(self) -> int:
        return len(self._places)

    def record(self, place: int, visit: int) -> Encoded | None:
        """See :class:`Source`."""
        return self._source.record(int(self._places[place]), visit)


def with_equal_epochs(mixture: Mixture, seed: int) -> Mixture:
    """Return a mixture of which every epoch reads the same examples: of each source its quota, drawn once.

    Quotas grow with the size of an epoch, and an epoch holds the examples of the smaller ones (but for one of a source
    where rounding takes it).

    Args:
        mixture: The mixture; a source whose examples stand several times in an epoch keeps all of them.
        seed: Decides which examples are drawn.
    """
    sources: list[Source] = []
    for number, (source, share) in enumerate(zip(mixture.sources, mixture.shares, strict=True)):
        order = np.random.default_rng([seed, number, 5]).permutation(len(source))
        sources.append(PartOfSource(source, order[: share.quota].tolist(), f"first of seed {seed}"))
    shares = tuple(replace(share, examples=len(source)) for share, source in zip(mixture.shares, sources, strict=True))
    return Mixture(mixture.name, tuple(sources), shares)


def first_that_fits(source: Source, place: int, visit: int) -> Encoded:
    """Return the record at a place, or the next one that fits.

    Raises:
        DataError: None of the source does.
    """
    for step in range(len(source)):
        found = source.record((place + step) % len(source), visit)
        if found is not None:
            return found
    fix = "Leave the source out, use a model that holds longer texts, or other templates."
    raise DataError("none of its training examples fits the model", where=f"mixture, {source.name}", fix=fix)


def make_mixture(
    spec: MixtureSpec,
    reader: Reader,
    data: TrainingDataConfig,
    *,
    seed: int,
    held_out: Mapping[str, frozenset[int]] | None = None,
) -> Mixture:
    """Read the sources of a mixture, and find the quotas of an epoch.

    Args:
        spec: The file.
        reader: How the model reads.
        data: How rows are read; ``data.train`` limits the examples of an epoch.
        seed: Of what is drawn.
        held_out: Hashes of the texts on which something is measured, by the task that they are of: examples of other
            tasks with these texts are left out.

    Raises:
        LuthierError: All faults of all sources.
    """
    faults: list[LuthierError] = []
    rows: dict[str, TrainingRows] = {}
    for asked in spec.tasks:
        with collecting(faults):
            if asked.task is not None:
                rows[asked.name] = _rows(asked, data, seed)
    raise_faults(f"the mixture '{spec.name}' has faults", faults)
    measured = {**(held_out or {}), **{own.task.name: own.held_out for own in rows.values()}}
    sources: list[Source] = []
    for asked in spec.tasks:
        with collecting(faults):
            sources.append(_source(asked, spec, rows.get(asked.name), reader, measured))
    raise_faults(f"the mixture '{spec.name}' has faults", faults)
    found: list[Measured] = []
    for place, source in enumerate(sources):
        with collecting(faults):
            found.append(_measured(source, np.random.default_rng([seed, place, 4])))
    raise_faults(f"the mixture '{spec.name}' has faults", faults)
    return Mixture(spec.name, tuple(sources), _shares(spec, found, data.train))


def _rows(asked: MixtureSource, data: TrainingDataConfig, seed: int) -> TrainingRows:
    reasoning = "learn" if asked.targets == "reasoning" else data.reasoning
    settings = data.model_copy(update={"reasoning": reasoning})
    task = with_data_settings(load_task(asked.name, data.folder), settings)
    return TrainingRows(task, asked, data, seed)


def _source(
    asked: MixtureSource,
    spec: MixtureSpec,
    rows: TrainingRows | None,
    reader: Reader,
    measured: Mapping[str, frozenset[int]],
) -> Source:
    if rows is None:
        return TextSource(asked.name, load_texts(asked.name), reader)
    # A task's own splits are apart already, by whole prompts.
    rows.leave_out(frozenset().union(*(texts for name, texts in measured.items() if name != rows.task.name)))
    if not len(rows):
        became = " ".join(rows.report.sentences)
        what = f"the task '{rows.task.name}' has no training example left"
        raise DataError(what, where=f"mixture '{spec.name}', {asked.name}", fix=f"What became of its rows: {became}")
    if asked.choices != "as_written" and not rows.task.has_choices:
        what = f"the task '{rows.task.name}' has no choices that could be shown"
        raise DataError(what, where=f"mixture '{spec.name}', {asked.name}", fix="Leave `choices` out of this source.")
    origin = "" if asked.name == spec.target_name else rows.task.name
    return TaskSource(rows, reader.encoder_of(rows.task), origin)


def _measured(source: Source, rng: np.random.Generator) -> Measured:
    """Look at some examples of a source; raises DataError where none of it fits."""
    places = rng.permutation(len(source))[:_SAMPLE]
    found = [source.record(int(place), 0) for place in places]
    fitting = [record for record in found if record is not None] or [first_that_fits(source, 0, 0)]
    return Measured(
        source.name,
        len(source),
        tokens=sum(len(record.target_ids) for record in fitting) / len(fitting),
        cut=sum(record.cut_tokens > 0 for record in fitting) / len(found),
        dropped=sum(record is None for record in found) / len(found),
        overlapping=source.overlapping,
    )


def _shares(spec: MixtureSpec, measured: Sequence[Measured], limit: int | None) -> tuple[Share, ...]:
    sizes = [own.examples for own in measured]
    rates = _rates(spec, sizes)
    of_examples = rates
    if spec.unit == "tokens":
        of_examples = normalised([rate / own.tokens for rate, own in zip(rates, measured, strict=True)])
    size = spec.size or sum(min(own, spec.cap or own) for own in sizes)
    return shares(measured, rates, quotas(of_examples, sizes, min(size, limit or size), repeat=spec.repeat))


def _rates(spec: MixtureSpec, sizes: Sequence[int]) -> tuple[float, ...]:
    """Return what was asked for, with a sum of 1."""
    if spec.rate == "examples":
        base: Sequence[float] = mixing_rates(sizes, cap=spec.cap, temperature=spec.temperature)
    else:
        base = [1.0] * len(sizes)
    weights = [1.0 if source.weight is None else source.weight for source in spec.tasks]
    return normalised([rate * weight for rate, weight in zip(base, weights, strict=True)])
