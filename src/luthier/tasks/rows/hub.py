"""Datasets through the `datasets` library: from the Hugging Face hub by id, or from a folder written by `save_to_disk`.

Only data files are read: the library runs no code that comes with a dataset. A hub id is pinned to the commit that it
stands for, so that the same run can be made again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luthier.errors import DataError, did_you_mean
from luthier.files.value_text import with_nulls
from luthier.records import Row

PREFIX = "hf:"
_ID = re.compile(r"hf:(?P<name>[\w.-]+(?:/[\w.-]+)?)(?::(?P<config>[\w.+-]+))?")


def parse_id(path: str) -> tuple[str, str | None]:
    """Split ``hf:owner/name[:config]`` into name and configuration.

    Raises:
        DataError: When it is not of this form.
    """
    match = _ID.fullmatch(path)
    if match is None:
        raise DataError(f"'{path}' is not hf:owner/name[:config]", fix="Write for example hf:knkarthick/dialogsum.")
    return match["name"], match["config"]


def copy_in(folder: Path, path: str) -> Path | None:
    """Return the copy of a hub dataset in a folder, ``FOLDER/owner/name[/config]``; None where there is none."""
    name, config = parse_id(path)
    copy = folder / name if config is None else folder / name / config
    return copy if copy.is_dir() else None


def pin(path: str, revision: str | None) -> str:
    """Return the commit that a hub id stands for now (or that ``revision`` names)."""
    from huggingface_hub import HfApi

    name, _ = parse_id(path)
    try:
        sha = HfApi().dataset_info(name, revision=revision).sha
    except Exception as fault:
        raise _unreachable(path, fault) from None
    if not sha:
        raise DataError("the hub names no commit", where=path, fix="Give `revision:`.")
    return sha


def hub_splits(path: str, revision: str | None) -> tuple[str, ...]:
    """Return the names of a hub dataset's splits."""
    import datasets

    name, config = parse_id(path)
    try:
        return tuple(datasets.get_dataset_split_names(name, config, revision=revision))
    except Exception as fault:
        raise _unreachable(path, fault) from None


def hub_rows(path: str, revision: str | None, split: str) -> Iterator[Row]:
    """Yield the rows of one split; they are kept in the library's cache and mapped, not held in memory."""
    import datasets

    name, config = parse_id(path)
    try:
        dataset = datasets.load_dataset(name, config, split=split, revision=revision)
    except Exception as fault:
        raise _unreachable(path, fault) from None
    yield from _rows(dataset)


def _unreachable(path: str, fault: Exception) -> DataError:
    # The hub's libraries raise dozens of classes (network, access, layout); the first line of each says which.
    reason = (str(fault).strip().splitlines() or [""])[0]
    what = f"cannot be read from the hub ({type(fault).__name__}: {reason})"
    place = "/".join(filter(None, parse_id(path)))
    return DataError(
        what,
        where=path,
        fix="Check the id, the configuration, your access and the network. Without network: load it where there is "
        f"one, write it by `save_to_disk` to {place} in a folder, and name the folder by --data.",
    )


def is_saved(folder: Path) -> bool:
    """Say whether a folder was written by ``save_to_disk``."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def saved_splits(folder: Path) -> tuple[str, ...]:
    """Return the names of the splits in a saved folder; none when it holds one dataset."""
    dataset = _load_saved(folder)
    return tuple(str(name) for name in dataset) if isinstance(dataset, dict) else ()


def saved_rows(folder: Path, split: str | None) -> Iterator[Row]:
    """Yield the rows of a saved dataset, or of one split of a saved dictionary of datasets."""
    dataset = _load_saved(folder)
    if not isinstance(dataset, dict):
        yield from _rows(dataset)
    elif split in dataset:
        yield from _rows(dataset[split])
    else:
        raise DataError(f"no split '{split}'", where=str(folder), fix=did_you_mean(str(split), map(str, dataset)))


def _load_saved(folder: Path) -> Any:
    import datasets

    try:
        return datasets.load_from_disk(str(folder))
    except Exception as fault:
        reason = (str(fault).strip().splitlines() or [""])[0]
        what = f"a saved dataset that cannot be read ({type(fault).__name__}: {reason})"
        raise DataError(what, where=str(folder), fix="Save it again with `save_to_disk`.") from None


def _rows(dataset: Any) -> Iterator[Row]:
    for batch in dataset.with_format(None).iter(batch_size=1000):
        names = list(batch)
        for values in zip(*batch.values(), strict=True):
            yield with_nulls(dict(zip(names, values, strict=True)))
