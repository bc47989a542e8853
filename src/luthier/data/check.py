"""What will be learned, before any step is made: lengths, supervised tokens, what is cut or dropped, and samples."""

from __future__ import annotations

import itertools
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from luthier.config.advice import how_to_set, or_allow_lost
from luthier.data.check_pairs import PairCheck, notes_of_pairs, pair_figures
from luthier.data.encoding import Encoder
from luthier.data.lengths import PERCENTILES, joined, percentiles
from luthier.data.long_texts import LONG, characters
from luthier.errors import DataError, LuthierError
from luthier.records import Dropped, Encoded, Example

_BATCH = 512


@dataclass(frozen=True, slots=True)
class Sample:
    """An example as the model sees it.

    Attributes:
        id: The example's id.
        prompt: The prompt's tokens as text, special tokens included; nothing of it is supervised.
        target: The target's tokens as text, end token included; all of it is supervised.
        cut_tokens: Tokens cut from the head of the input text.
    """

    id: str
    prompt: str
    target: str
    cut_tokens: int


@dataclass(frozen=True, slots=True)
class SplitCheck:
    """One split, counted.

    Attributes:
        split: Its name.
        examples: Examples seen.
        encoded: Examples that fit the model.
        cut: Examples that lost input text.
        cut_tokens: Tokens that they lost together.
        dropped: Examples that do not fit, by reason.
        prompt_tokens: Percentiles (:data:`PERCENTILES`) of the prompts' lengths in tokens; empty without examples.
        target_tokens: The same of the targets.
        supervised: Tokens of all targets.
        total: Tokens of all prompts and targets.
        begins: How many examples have how many begin tokens.
        ends: Examples whose target ends with the end token.
        unknown: Tokens that the tokenizer does not know.
        distinct_targets: False when all targets are the same.
        samples: The first examples.
        doubled: Examples before whose text begin tokens were put although it has some of its own.
        begin: These tokens; "" where there are none.
    """

    split: str
    examples: int
    encoded: int
    cut: int
    cut_tokens: int
    dropped: Mapping[str, int]
    prompt_tokens: tuple[int, ...]
    target_tokens: tuple[int, ...]
    supervised: int
    total: int
    begins: Mapping[int, int]
    ends: int
    unknown: int
    distinct_targets: bool
    samples: tuple[Sample, ...]
    doubled: int = 0
    begin: str = ""

    @property
    def lost(self) -> int:
        """Examples dropped for any reason."""
        return sum(self.dropped.values())


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What ``luthier check`` shows.

    Attributes:
        task: Name of the task.
        where: Its file.
        max_length: Tokens that fit.
        chat: Whether prompts go through the chat template.
        rows: Rows read.
        left_out: Rows from which nothing can be learned.
        left_out_rows: The first of them, with the reason.
        left_out_why: What they have in common.
        sentences: What became of the rows.
        splits: The splits that have examples.
        pairs: Their pairs of answers; empty where the rows hold no preferences.
    """

    task: str
    where: str
    max_length: int
    chat: bool
    rows: int
    left_out: int
    left_out_rows: tuple[str, ...]
    left_out_why: str
    sentences: tuple[str, ...]
    splits: tuple[SplitCheck, ...]
    pairs: tuple[PairCheck, ...] = ()

    def split(self, name: str) -> SplitCheck | None:
        """Return a split's figures, or None when it has no examples."""
        return next((item for item in self.splits if item.split == name), None)


class SplitMeter:
    """Counts one split as its examples come by; keeps 8 bytes of each.

    Args:
        split: Name of the split.
        encoder: Encodes them.
        samples: How many are kept to be shown.
    """

    def __init__(self, split: str, encoder: Encoder, samples: int = 3) -> None:
        self._split, self._encoder, self._wanted = split, encoder, samples
        self._waiting: list[Example] = []
        self._size = 0
        self._prompts, self._targets = array("I"), array("I")
        self._dropped: Counter[str] = Counter()
        self._begins: Counter[int] = Counter()
        self._samples: list[Sample] = []
        self._examples = self._cut = self._cut_tokens = self._ends = self._unknown = self._doubled = 0
        self._begin = ""
        self._first_target: str | None = None
        self._distinct = False

    def add(self, example: Example) -> None:
        """Take an example; examples are encoded a batch at a time."""
        if self._first_target is None:
            self._first_target = example.targets[0]
        self._distinct = self._distinct or example.targets[0] != self._first_target
        self._waiting.append(example)
        self._size += characters(example)
        if len(self._waiting) >= _BATCH or self._size >= LONG:
            self._flush()

    def _flush(self) -> None:
        for example, item in zip(self._waiting, self._encoder.stream(self._waiting), strict=True):
            self._examples += 1
            if isinstance(item, Dropped):
                self._dropped[item.reason] += 1
            else:
                self._count(item)
                begin = self._encoder.doubled_begin(example, item.prompt_ids.tolist())
                self._doubled += bool(begin)
                self._begin = self._begin or begin
        self._waiting.clear()
        self._size = 0

    def _count(self, item: Encoded) -> None:
        tokenizer, end = self._encoder.tokenizer, self._encoder.end_ids
        self._prompts.append(len(item.prompt_ids))
        self._targets.append(len(item.target_ids))
        self._cut += item.cut_tokens > 0
        self._cut_tokens += item.cut_tokens
        bos = self._encoder.bos_id
        ids = (*item.prompt_ids.tolist(), *item.target_ids[: -len(end)].tolist())
        self._begins[0 if bos is None else _begin_tokens(ids, bos, every=not self._encoder.chat)] += 1
        self._ends += tuple(item.target_ids[-len(end) :].tolist()) == end
        unknown = tokenizer.unk_token_id
        # Where the end token doubles as the unknown one, nothing can be told apart.
        if unknown is not None and unknown not in (bos, *end):
            self._unknown += int((item.prompt_ids == unknown).sum() + (item.target_ids == unknown).sum())
        if len(self._samples) < self._wanted:
            self._samples.append(self._sample(item))

    def _sample(self, item: Encoded) -> Sample:
        decode, target_ids = self._encoder.tokenizer.decode, item.target_ids.tolist()
        prompt, target = decode(item.prompt_ids.tolist()), decode(target_ids)
        if not self._encoder.encoder_decoder:
            # Decoded alone, a target loses the space that stands between it and its prompt.
            whole = decode([*item.prompt_ids.tolist(), *target_ids])
            target = whole.removeprefix(prompt) if whole.startswith(prompt) else target
        return Sample(item.id, prompt, target, item.cut_tokens)

    def finish(self) -> SplitCheck:
        """Return the figures."""
        self._flush()
        prompts, targets = (np.frombuffer(lengths, dtype=np.uint32) for lengths in (self._prompts, self._targets))
        supervised = int(targets.sum())
        return SplitCheck(
            split=self._split,
            examples=self._examples,
            encoded=len(targets),
            cut=self._cut,
            cut_tokens=self._cut_tokens,
            dropped=dict(self._dropped.most_common()),
            prompt_tokens=percentiles(prompts),
            target_tokens=percentiles(targets),
            supervised=supervised,
            total=supervised + int(prompts.sum()),
            begins=dict(sorted(self._begins.items())),
            ends=self._ends,
            unknown=self._unknown,
            distinct_targets=self._distinct,
            samples=tuple(self._samples),
            doubled=self._doubled,
            begin=self._begin,
        )


def _begin_tokens(ids: Sequence[int], bos: int, *, every: bool) -> int:
    """Count begin tokens: every one, or those at the head alone, where a chat template may begin each turn with one."""
    return ids.count(bos) if every else next((place for place, item in enumerate(ids) if item != bos), len(ids))


def check_split(split: str, examples: Iterable[Example], encoder: Encoder, *, samples: int = 3) -> SplitCheck:
    """Count one split, streaming over its examples."""
    meter = SplitMeter(split, encoder, samples)
    for example in examples:
        meter.add(example)
    return meter.finish()


def fatal(report: CheckReport, max_lost: float) -> list[LuthierError]:
    """Return what would make training meaningless.

    Args:
        report: What was found.
        max_lost: Share of the rows, or of a split's examples, that may be lost.
    """
    faults: list[LuthierError] = []
    if report.rows and report.left_out / report.rows > max_lost:
        share = report.left_out / report.rows
        what = f"{report.left_out:,} of {report.rows:,} rows {report.left_out_why} ({share:.0%})"
        first = f"The first: {report.left_out_rows[0]}. " if report.left_out_rows else ""
        fix = f"{first}Correct them{or_allow_lost(report.left_out, report.rows)}."
        faults.append(DataError(what, where=report.where, fix=fix))
    train = report.split("train")
    if train is None:
        what = "there are no training examples"
        faults.append(DataError(what, where=report.where, fix="See above what became of the rows."))
    elif not train.supervised and not train.lost:
        faults.append(DataError("no token is supervised", where=report.where, fix="Check the target template."))
    for split in report.splits:
        if split.lost and (split.lost / split.examples > max_lost or not split.encoded):
            reasons = "; ".join(f"{count:,}: {reason}" for reason, count in split.dropped.items())
            what = f"{split.lost:,} of {split.examples:,} {split.split} examples do not fit {report.max_length} tokens"
            longer = (
                f"Give {how_to_set('data.max_length', 'N')} or a model that holds longer texts, or shorten the rows"
            )
            fix = f"{longer}{or_allow_lost(split.lost, split.examples)}."
            faults.append(DataError(f"{what} ({reasons})", where=report.where, fix=fix))
    return faults


def notes(report: CheckReport) -> Iterator[str]:
    """Yield what is not wrong, but worth knowing."""
    for split in report.splits:
        if split.cut:
            share = split.cut / split.encoded
            yield f"{split.split}: {split.cut:,} prompts ({share:.1%}) lost {split.cut_tokens:,} tokens of input text."
        if split.encoded and split.unknown:
            share = split.unknown / split.total
            yield f"{split.split}: the tokenizer does not know {split.unknown:,} tokens ({share:.2%})."
        if split.examples > 1 and not split.distinct_targets:
            yield f"{split.split}: every target is the same."
        if split.doubled:
            source = "the chat template" if report.chat else "the row or its template"
            yield (
                f"{split.split}: {split.doubled:,} examples have more than one begin token: {split.begin} is put "
                f"before texts in which {source} writes a begin token as well."
            )


def render_check(report: CheckReport, console: Console) -> None:
    """Print a report; supervised tokens are green, or in brackets where the console has no colour."""
    mode = "with the model's chat template" if report.chat else "as plain text"
    console.print(Text(f"{report.task}: at most {report.max_length:,} tokens, {mode}", style="bold"))
    for sentence in (*report.sentences, *notes(report), *notes_of_pairs(report.pairs)):
        console.print(Text(f"• {sentence}"))
    console.print(_figures(report))
    if report.pairs:
        console.print(pair_figures(report.pairs))
    coloured = console.color_system is not None and not console.no_color
    for split in report.splits[:1]:
        brackets = None if coloured else _brackets(split.samples, console.encoding)
        for sample in split.samples:
            console.print(_sample(split.split, sample, brackets))


def _figures(report: CheckReport) -> Table:
    table = Table(title="what will be learned")
    table.add_column("")
    for split in report.splits:
        table.add_column(split.split, justify="right")
    percentiles = " / ".join({0: "least", 100: "most"}.get(p, f"{p} %") for p in PERCENTILES)
    rows = [
        ("examples", [f"{split.examples:,}" for split in report.splits]),
        ("encoded", [f"{split.encoded:,}" for split in report.splits]),
        ("cut", [f"{split.cut:,}" for split in report.splits]),
        *(
            (f"dropped: {reason}", [f"{split.dropped.get(reason, 0):,}" for split in report.splits])
            for reason in dict.fromkeys(reason for split in report.splits for reason in split.dropped)
        ),
        (f"prompt tokens ({percentiles})", [joined(split.prompt_tokens) for split in report.splits]),
        (f"target tokens ({percentiles})", [joined(split.target_tokens) for split in report.splits]),
        ("supervised tokens", [_share(split.supervised, split.total) for split in report.splits]),
        ("begin tokens in an example", [_begins(split) for split in report.splits]),
        ("targets that end with the end token", [f"{split.ends:,}" for split in report.splits]),
    ]
    for name, cells in rows:
        table.add_row(name, *cells)
    return table


def _share(part: int, whole: int) -> str:
    return f"{part:,} ({part / whole:.1%})" if whole else "0"


def _begins(split: SplitCheck) -> str:
    return ", ".join(f"{count}: {examples:,}" for count, examples in split.begins.items()) or "–"


def _brackets(samples: Sequence[Sample], encoding: str) -> tuple[str, str]:
    """Return a pair of brackets that the console can write, and that nobody can take for a part of the texts."""
    # As Lua's long brackets: of these one length is always left that begins nowhere in a text.
    pairs = ((f"[{'=' * length}[", f"]{'=' * length}]") for length in itertools.count(1))
    for begin, end in itertools.chain([("⟦", "⟧")], pairs):
        if begin.encode(encoding, errors="ignore") and all(_stands_alone(sample, begin, end) for sample in samples):
            return begin, end
    raise AssertionError("unreachable")


def _stands_alone(sample: Sample, begin: str, end: str) -> bool:
    """Whether brackets around a target are the first and the only ones of their kind."""
    opened = f"{sample.prompt}{begin}{sample.target}"
    whole = f"{opened}{end}"
    return whole.find(begin) == len(sample.prompt) == whole.rfind(begin) and whole.find(end) == len(opened)


def _sample(split: str, sample: Sample, brackets: tuple[str, str] | None) -> Panel:
    begin, end = brackets or ("", "")
    text = Text()
    text.append(sample.prompt, style="dim")
    text.append(f"{begin}{sample.target}{end}", style="bold green")
    cut = f", {sample.cut_tokens} tokens cut" if sample.cut_tokens else ""
    legend = Text(f"supervised: between {begin} and {end}" if brackets else "supervised: green", style="italic dim")
    return Panel(Group(text, legend), title=Text(f"{split} {sample.id}{cut}"), title_align="left")
