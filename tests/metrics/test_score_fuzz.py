"""Thousands of broken files through ``luthier score``: each is scored, or refused in words, within seconds."""

from __future__ import annotations

import gzip
import io
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from luthier.errors import LuthierError
from luthier.metrics.score_command import Output, ScoreSettings, run_score
from luthier.metrics.score_inputs import ScoreInputs

VALUES: tuple[object, ...] = (
    "a b c",
    "",
    " ",
    "nan",
    "外面很冷",
    "e\u0301 \u202e\x1b[31m",
    None,
    True,
    0,
    -1,
    1.5,
    float("nan"),
    float("inf"),
    1e308,
    2**63,
    ["a", "b"],
    [],
    [None],
    {"text": ["a"], "answer_start": [0]},
    {"text": "a", "answer_start": 1},
    {"a": {"b": [1, {"c": None}]}},
)
USUAL: tuple[object, ...] = ("a b c", "b c", "外面很冷", True, 1.5, 2, {"text": ["a"], "answer_start": [0]})
TOKENS = (
    b'"\\ud800"',
    b"NaN",
    b"-Infinity",
    b"9" * 5000,
    b"1e999",
    b"[" * 300,
    b"{" * 2000,
    b'{"a":' * 500,
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b'"',
    b'""',
    b",",
    b"\n",
    b"\r",
    b"\r\n",
    b"\t",
    b"\\",
    b'"prediction":',
    b"prediction",
    b"PAR1",
    b"\x1f\x8b",
)


def rows(rng: random.Random) -> list[dict[str, object]]:
    others = ["id", "references", "text", "task", "targets", "group"]
    keys = ["prediction", "target", *rng.sample(others, rng.choice([0, 0, 0, 1, 2]))]
    values = VALUES if rng.random() < 0.4 else USUAL
    found = [{key: rng.choice(values) for key in keys} for _ in range(rng.choice([0, 3, 3, 3, 3, 5]))]
    for number, row in enumerate(found):
        if "id" in row and rng.random() < 0.9:
            row["id"] = number
    return found


def as_jsonl(rng: random.Random) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=rng.random() < 0.5) + "\n" for row in rows(rng)).encode()


def as_json(rng: random.Random) -> bytes:
    return json.dumps(rows(rng)).encode()


def as_csv(rng: random.Random) -> bytes:
    found = rows(rng)
    lines = [",".join(found[0])] if found else []
    return "\n".join([*lines, *(",".join(f'"{value}"' for value in row.values()) for row in found)]).encode()


def as_parquet(rng: random.Random) -> bytes:
    columns = {
        "prediction": pa.array(rng.choices(["a", "d", "b c", rng.choice(["a", None, ""])], k=4)),
        "target": rng.choice(
            [
                pa.array([["a"], [], None, ["b", None]]),
                pa.array(["a", "b", "c d", "e"]),
                pa.array([1.0, float("nan"), None, 2.5]),
                pa.array([b"a", b"\xff", None, b""]),
                pa.array([{"text": ["a"], "answer_start": [1]}] * 4),
                pa.array([0, 2**60, None, -(2**60)], pa.timestamp("us")),
            ]
        ),
    }
    buffer = io.BytesIO()
    pa.parquet.write_table(pa.table(columns), buffer, compression=rng.choice(["none", "gzip", "snappy"]))
    return buffer.getvalue()


def as_text(rng: random.Random) -> bytes:
    return b"".join(str(rng.choice(USUAL)).encode() + b"\n" for _ in range(rng.choice([0, 1, 3, 3, 3, 3])))


MAKERS: dict[str, Callable[[random.Random], bytes]] = {
    "p.jsonl": as_jsonl,
    "p.json": as_json,
    "p.csv": as_csv,
    "p.tsv": as_csv,
    "p.parquet": as_parquet,
    "p.txt": as_text,
    "p": as_jsonl,
}


def broken(content: bytes, rng: random.Random) -> bytes:
    """Change a file in up to three places: cut it, flip a byte, put something in, repeat a part, compress it."""
    for _ in range(rng.choice([0, 0, 0, 1, 2, 3])):
        at = rng.randint(0, len(content))
        kind = rng.randrange(5)
        if kind == 0:
            content = content[:at]
        elif kind == 1 and at < len(content):
            content = content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]
        elif kind == 2:
            content = content[:at] + rng.choice(TOKENS) + content[at:]
        elif kind == 3:
            content = content[:at] + content[max(at - rng.randint(1, 40), 0) :]
        elif rng.random() < 0.3:
            content = gzip.compress(content, mtime=0)
    return content


def run(folder: Path, seed: int) -> str:
    rng = random.Random(seed)
    name, maker = rng.choice([*MAKERS.items()])
    path = folder / f"{seed}-{name}"
    references: tuple[Path, ...] = ()
    path.write_bytes(broken(maker(rng), rng))
    if name == "p.txt" or rng.random() < 0.2:
        other, maker = rng.choice([*MAKERS.items()])
        references = (folder / f"{seed}-r-{other}",)
        references[0].write_bytes(broken(maker(rng), rng))
    inputs = ScoreInputs((path,), references, allow_empty=rng.random() < 0.5, size_limit=1)
    metric = rng.choice(["rouge", "bleu", "exact_match", "token_f1", "rouge:tokenize=unicode", "chrf", "f1", "pearson"])
    output = Output(
        as_json=rng.random() < 0.7, by=rng.choice(["", "", "", "", "id", "group"]), per_example=folder / "rows.jsonl"
    )
    try:
        run_score(inputs, ScoreSettings((metric,), resamples=rng.choice([0, 100])), output)
    except LuthierError as fault:
        return "refused" if str(fault).strip() else "refused without a word"
    return "scored"


def fuzz(folder: Path, seeds: range) -> Counter[str]:
    found: Counter[str] = Counter()
    for seed in seeds:
        started = time.monotonic()
        try:
            found[run(folder, seed)] += 1
        except Exception as fault:
            raise AssertionError(f"seed {seed} is not refused in words: {type(fault).__name__}: {fault}") from fault
        assert time.monotonic() - started < 10, f"seed {seed} takes too long"
    return found


def test_broken_files_are_scored_or_refused_in_words(tmp_path: Path) -> None:
    found = fuzz(tmp_path, range(300))
    assert set(found) == {"scored", "refused"}
    assert min(found.values()) > 30


@pytest.mark.slow
def test_thousands_of_broken_files(tmp_path: Path) -> None:
    fuzz(tmp_path, range(300, 6300))
