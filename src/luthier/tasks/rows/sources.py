"""Where rows come from: a file, a folder of splits, a saved dataset, or a dataset of the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from luthier.errors import DataError, did_you_mean
from luthier.files.tables import SUFFIXES, TableFormat, read_table, recognise_format, stem_and_suffix
from luthier.records import Row
from luthier.tasks.rows import hub

SPLITS = ("train", "validation", "test")
DATA = "data:"
"""Before the path of a file in the folder of original files that ``--data`` names."""
_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
_SHARD = re.compile(r"(?P<name>\w+)-\d+-of-\d+")


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows are, and how they are written where the file does not say it itself.

    Attributes:
        path: A file, a folder, or ``hf:owner/name[:config]``.
        format: One of `luthier.files.tables.FORMATS`; recognised by content and suffix when not given.
        columns: Names of the columns of a CSV or TSV file without header.
        delimiter: Of a CSV or TSV file; comma and tab when not given.
        quoting: Whether ``"`` quotes fields (``"standard"``) or is an ordinary character (``"none"``); standard for
            CSV and none for TSV when not given.
        field: Key of the list of rows in a file that holds one JSON object.
        split: Which split of a folder or a hub dataset.
        revision: Commit, tag or branch of a hub dataset.
        unfold: Keys, with dots between, of lists within lists: every element of the last is a row, with the keys of
            all that it lies in.
        aligned: Names of columns with a file of texts for each, which has one line for every row, in its order.
        get: Where the file can be had, for the message when it is missing.
    """

    path: str
    format: str | None = None
    columns: tuple[str, ...] | None = None
    delimiter: str | None = None
    quoting: str | None = None
    field: str | None = None
    split: str | None = None
    revision: str | None = None
    get: str | None = None
    unfold: str | None = None
    aligned: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        split = f" ({self.split})" if self.split else ""
        return f"{self.path}{revision}{split}"

    @property
    def on_hub(self) -> bool:
        """Whether it is a dataset of the hub."""
        return self.path.startswith(hub.PREFIX)


def pin(source: Source) -> Source:
    """Return the source with a hub dataset's revision replaced by the commit that it stands for; needs the network."""
    if not source.on_hub or (source.revision and re.fullmatch(r"[0-9a-f]{40}", source.revision)):
        return source
    return replace(source, revision=hub.pin(source.path, source.revision))


def given_splits(source: Source) -> dict[str, Source]:
    """Return the train, validation and test parts that the source itself has; empty where it is undivided.

    Raises:
        DataError: When a folder holds no rows, or two files for one split.
    """
    if source.split is not None:
        return {}
    if source.on_hub:
        return _by_name(source, hub.hub_splits(source.path, source.revision))
    folder = _found(source)
    if not folder.is_dir():
        return {}
    if hub.is_saved(folder):
        return _by_name(source, hub.saved_splits(folder))
    return {name: replace(source, split=name) for name in SPLITS if name in _split_files(folder)}


def _by_name(source: Source, names: tuple[str, ...]) -> dict[str, Source]:
    found: dict[str, Source] = {}
    for name in names:
        split = _NAMES.get(name)
        if split is not None and split not in found:
            found[split] = replace(source, split=name)
    if not found and len(names) > 1:
        what = f"no split is called train, validation or test; there are {', '.join(names)}"
        raise DataError(what, where=str(source), fix="Name them: `source: {train: {path: …, split: …}}`.")
    return found


def _split_files(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    shards: dict[str, bool] = {}
    try:
        paths = sorted(folder.iterdir())
    except OSError as fault:
        raise DataError(f"cannot read the folder ({fault.strerror})", where=str(folder)) from None
    for path in paths:
        stem, suffix = stem_and_suffix(path)
        match = _SHARD.fullmatch(stem)
        split = _NAMES.get(match["name"] if match else stem)
        if split is None or suffix not in SUFFIXES or not path.is_file():
            continue
        if split in found and not (match and shards[split]):
            what = f"two files for the {split} split: {found[split][0].name} and {path.name}"
            raise DataError(what, where=str(folder), fix="Keep one, or name the files under `source:`.")
        found.setdefault(split, []).append(path)
        shards[split] = match is not None
    if not found:
        names = ", ".join([path.name for path in paths][:8]) or "nothing"
        fix = "Name the files train, validation (or dev) and test, with .jsonl, .json, .csv, .tsv or .parquet."
        raise DataError(f"no file of rows in the folder (it holds {names})", where=str(folder), fix=fix)
    return found


def read_rows(source: Source) -> Iterator[Row]:
    """Yield the rows of a source, one at a time, in the order of the file.

    Raises:
        DataError: When the source is missing, of unknown format, or has no rows.
        Faults: When rows are malformed, all together (20 at most), at the end of the file.
    """
    count = 0
    for row in _with_aligned(_rows(source), source):
        for one in unfolded(row, source.unfold.split("."), str(source)) if source.unfold else (row,):
            count += 1
            yield one
    if not count:
        raise DataError("there are no rows", where=str(source), fix="Give a source that has rows.")


def _with_aligned(rows: Iterator[Row], source: Source) -> Iterator[Row]:
    """Yield rows with the lines of aligned files as further columns."""
    if not source.aligned:
        yield from rows
        return
    names = [name for name, _ in source.aligned]
    beside = [_rows(replace(source, path=path, format="text", aligned=())) for _, path in source.aligned]
    for number, row in enumerate(rows, 1):
        texts = [next(lines, {}).get("text") for lines in beside]
        if None in texts:
            short = dict(source.aligned)[names[texts.index(None)]]
            raise _not_aligned(source, short, f"has {number - 1} lines, fewer")
        yield {**row, **dict(zip(names, texts, strict=True))}
    for (_, path), lines in zip(source.aligned, beside, strict=True):
        if next(lines, None) is not None:
            raise _not_aligned(source, path, "has more lines")


def _not_aligned(source: Source, path: str, what: str) -> DataError:
    return DataError(f"the file {what} than {source.path} has rows", where=path, fix="Give files of the same length.")


def unfolded(row: Row, keys: Sequence[str], where: str) -> Iterator[Row]:
    """Yield a row for every element of a list that lies in it, in lists or mappings; inner keys win over outer ones.

    Raises:
        DataError: When there is no list or mapping under a key.
    """
    if not keys:
        yield row
        return
    held = row.get(keys[0])
    if isinstance(held, dict):
        yield from unfolded({**row, **held}, keys[1:], where)
    elif isinstance(held, list) and all(isinstance(one, dict) for one in held):
        for one in held:
            yield from unfolded({**row, **one}, keys[1:], where)
    else:
        what = f"a row cannot be unfolded: there is no list of mappings under '{keys[0]}'"
        raise DataError(what, where=where, fix=did_you_mean(keys[0], map(str, row)))


def _rows(source: Source) -> Iterator[Row]:
    if source.on_hub:
        split = source.split or next(iter(hub.hub_splits(source.path, source.revision)))
        return hub.hub_rows(source.path, source.revision, split)
    path = _found(source)
    if not path.is_dir():
        return _file_rows(path, source)
    if hub.is_saved(path):
        return hub.saved_rows(path, source.split)
    files = _split_files(path)
    if source.split is None and len(files) > 1:
        what = f"the folder has several splits: {', '.join(files)}"
        raise DataError(what, where=source.path, fix="Say which: `split: train`.")
    split = source.split or next(iter(files))
    if split not in files:
        raise DataError(f"the folder has no {split} split", where=source.path, fix=f"It has {', '.join(files)}.")
    return (row for file in files[split] for row in _file_rows(file, source))


def _found(source: Source) -> Path:
    name, path = source.path, Path(source.path)
    if name.startswith(DATA):
        raise needs_folder(name, source.get)
    try:
        if path.exists():
            return path
    except (OSError, ValueError) as fault:  # too long a name, a NUL in it, a folder that may not be entered
        reason = getattr(fault, "strerror", None) or fault
        raise DataError(f"cannot be opened ({reason})", where=name, fix="Check the path.") from None
    fix = _nearby(path) if source.get is None else f"Get it from {source.get}, and put it there."
    raise DataError("no such file or folder", where=name, fix=fix)


def needs_folder(name: str, get: str | None) -> DataError:
    """Return the error for a file ``data:FILE`` whose folder nobody has named."""
    own = name.removeprefix(DATA)
    had = f"Get it from {get}, and name" if get else "Name"
    what = f"the original file {own} is needed, and it is not said in which folder it is"
    return DataError(what, where=name, fix=f"{had} the folder that holds {own}: --data DIR (`data.folder`).")


def _nearby(path: Path) -> str:
    import difflib

    if not path.parent.is_dir():
        return f"The folder {path.parent} does not exist either."
    close = difflib.get_close_matches(path.name, [other.name for other in path.parent.iterdir()], n=1)
    return f"Did you mean '{path.with_name(close[0])}'?" if close else "Check the path."


def _file_rows(path: Path, source: Source) -> Iterator[Row]:
    name = source.format or ("json" if source.field is not None else recognise_format(path))
    table = TableFormat(name, source.columns, source.delimiter, source.quoting, source.field)
    return (row for _, row in read_table(path, table))
