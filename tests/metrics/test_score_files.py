"""What ``luthier score`` does with other people's files: pairing by ids, bounds, and clear refusals."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from luthier.errors import ConfigError, DataError, Faults, LuthierError
from luthier.files.tables import TableFormat, read_table
from luthier.metrics.score_command import Output, ScoreSettings, run_score
from luthier.metrics.score_inputs import Columns, ScoreInputs, load_systems
from luthier.tasks.rows.row_formats import recognise

ANSWERS = [f"the answer is number {n} of many" for n in range(30)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".csv":
        path.write_text("\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]) + "\n")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answers(path: Path, *references: Path, column: str = "", allow_empty: bool = False, limit: int = 512) -> Any:
    inputs = ScoreInputs((path,), references, Columns(identity=column), allow_empty, limit)
    return load_systems(inputs)[0]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_references_are_paired_by_their_ids(tmp_path: Path, suffix: str) -> None:
    given = [{"number": n, "prediction": text} for n, text in enumerate(ANSWERS)]
    wanted = [{"number": float(n) if suffix == "jsonl" else n, "target": text} for n, text in enumerate(ANSWERS)]
    p, r = write(tmp_path / f"p.{suffix}", given), write(tmp_path / f"r.{suffix}", wanted[::-1])
    system = answers(p, r, column="number")
    assert [(item.id, item.text, item.targets) for item in system.predictions] == [
        (str(n), text, (text,)) for n, text in enumerate(ANSWERS)
    ]
    assert not system.notes


def test_ids_that_are_recognised_pair_too(tmp_path: Path) -> None:
    p = write(tmp_path / "p.jsonl", [{"id": n, "prediction": text} for n, text in enumerate(ANSWERS)])
    r = write(tmp_path / "r.jsonl", [{"idx": str(n), "target": text} for n, text in reversed([*enumerate(ANSWERS)])])
    assert all(item.targets == (item.text,) for item in answers(p, r).predictions)


def test_an_id_on_one_side_only_is_an_error(tmp_path: Path) -> None:
    p = write(tmp_path / "p.jsonl", [{"id": n, "prediction": "a"} for n in range(4)])
    r = write(tmp_path / "r.jsonl", [{"id": n, "target": "a"} for n in range(2, 6)])
    with pytest.raises(Faults) as faults:
        answers(p, r)
    assert [str(fault).splitlines()[0] for fault in faults.value.faults] == [
        f"{p}, line 1: The id '0' has no reference in {r}.",
        f"{p}, line 2: The id '1' has no reference in {r}.",
        f"{r}, line 3: The id '4' has no prediction in {p}.",
        f"{r}, line 4: The id '5' has no prediction in {p}.",
    ]


@pytest.mark.parametrize("side", ["p", "r"])
def test_an_id_that_stands_twice_or_is_empty_is_an_error(tmp_path: Path, side: str) -> None:
    rows: dict[str, list[dict[str, Any]]] = {
        "p": [{"id": n, "prediction": "a"} for n in range(4)],
        "r": [{"id": n, "target": "a"} for n in range(4)],
    }
    rows[side][2]["id"] = 1
    rows[side][3]["id"] = None
    paths = {name: write(tmp_path / f"{name}.jsonl", items) for name, items in rows.items()}
    with pytest.raises(Faults, match="stands in lines 2 and 3") as faults:
        answers(paths["p"], paths["r"])
    assert "line 4: The id is empty" in str(faults.value)


def test_ids_that_were_asked_for_must_be_on_both_sides(tmp_path: Path) -> None:
    p = write(tmp_path / "p.csv", [{"key": 1, "prediction": "a"}])
    r = write(tmp_path / "r.csv", [{"target": "a"}])
    with pytest.raises(DataError, match=r"r\.csv: The table has no column 'key'"):
        answers(p, r, column="key")


def test_pairing_by_order_is_said_where_only_the_answers_have_ids(tmp_path: Path) -> None:
    p = write(tmp_path / "p.jsonl", [{"id": 7, "prediction": "a"}])
    r = write(tmp_path / "r.jsonl", [{"target": "a"}])
    assert "has no ids: its rows are paired with those of" in answers(p, r).notes[0]


def test_a_byte_order_mark_that_is_removed_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.txt").write_bytes("\ufeffa b c d\n".encode())
    (tmp_path / "r.txt").write_bytes(b"a b c d\n")
    inputs = ScoreInputs((tmp_path / "p.txt",), (tmp_path / "r.txt",))
    run_score(inputs, ScoreSettings(("bleu",)), Output(as_json=True))
    found = json.loads(capsys.readouterr().out)
    assert found["bleu"]["value"] == pytest.approx(100)
    assert "p.txt begins with a byte order mark" in found["notes"][0]
    run_score(inputs, ScoreSettings(("bleu",)), Output())
    assert "note: " in capsys.readouterr().out


# Bounds.


def peak_of(program: str) -> int:
    """Run a program by itself and return its peak memory in bytes (not ru_maxrss, which a process inherits)."""
    code = program + "\nprint(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return int(done.stdout.split()[-1]) * 1024


READ = """
from pathlib import Path
from luthier.errors import LuthierError
from luthier.metrics.score_inputs import ScoreInputs, load_systems
try:
    load_systems(ScoreInputs((Path({path!r}),), size_limit=16))
    raise SystemExit("read")
except LuthierError as fault:
    assert "more than 16 MiB, unpacked" in str(fault) and "--size-limit" in str(fault), fault
"""


def bomb(folder: Path, kind: str) -> Path:
    path = folder / f"p.{kind}"
    if kind == "parquet":
        text = pa.array(["a" * 3_000_000])
        texts = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), text)
        pa.parquet.write_table(
            pa.table({"prediction": texts, "target": texts}), path, compression="gzip", store_schema=False
        )
    elif kind == "parquet list":
        path = folder / "q.parquet"
        texts = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array(["a" * 3_000_000]))
        lists = pa.ListArray.from_arrays(pa.array([0, 1000]), texts)
        pa.parquet.write_table(pa.table({"prediction": ["a"], "target": lists}), path, compression="gzip")
    elif kind == "txt.gz":
        path.write_bytes(gzip.compress(b"a\n" * 2_000_000, mtime=0))
    elif kind == "csv.gz":
        path.write_bytes(gzip.compress(b"prediction,target\n" + b"a,b\n" * 2_000_000, mtime=0))
    else:
        path.write_bytes(gzip.compress(b"[" + b'{"prediction":"","target":""},' * 1_000_000, mtime=0))
    return path


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("kind", ["parquet", "parquet list", "txt.gz", "csv.gz", "json.gz"])
def test_a_small_file_that_unpacks_to_gigabytes_is_refused_in_bounded_memory(tmp_path: Path, kind: str) -> None:
    path = bomb(tmp_path, kind)
    assert path.stat().st_size < 2_000_000
    code = READ.format(path=str(path))
    if kind == "txt.gz":
        code = code.replace("),), size", f"),), (Path({str(path)!r}),), size")
    assert peak_of(code) < 400 * 2**20


def test_the_limit_can_be_raised(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", [{"prediction": "a" * 1100, "target": "a"} for _ in range(1000)])
    with pytest.raises(DataError, match="more than 1 MiB"):
        answers(path, limit=1)
    assert len(answers(path, limit=2).predictions) == 1000


def test_what_pyarrow_cannot_give_to_python_names_the_row_and_the_column(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff")]
    )
    late = pa.array([0, 2**50], pa.timestamp("ms"))
    pa.parquet.write_table(pa.table({"prediction": broken, "target": ["a", "b"], "day": late}), tmp_path / "p.parquet")
    with pytest.raises(Faults) as faults:
        answers(tmp_path / "p.parquet")
    first, second = map(str, faults.value.faults)
    assert "p.parquet, row 2: column 'prediction' holds a text that is not UTF-8" in first
    assert "p.parquet, row 2: column 'day' holds a value that Python cannot hold" in second


def test_dates_and_decimals_are_texts(tmp_path: Path) -> None:
    pa.parquet.write_table(
        pa.table({"prediction": [datetime(2024, 5, 1)], "target": ["2024-05-01 00:00:00"]}), tmp_path / "p.parquet"
    )
    only = answers(tmp_path / "p.parquet").predictions[0]
    assert (only.text,) == only.targets


DEEP = b"[" * 500 + b"]" * 500
WRONG: dict[str, tuple[str, bytes, str]] = {
    "a key twice": (
        "p.jsonl",
        b'{"prediction": "a", "target": "a", "target": "b"}',
        "line 1: keys that stand twice .*: target",
    ),
    "a key twice below": ("p.json", b'[{"prediction": "a", "target": {"b": 1, "b": 2}}]', "row 1.*stand twice .*: b"),
    "deep": (
        "p.jsonl",
        b'{"prediction": "a", "target": ' + DEEP + b"}",
        "line 1: JSON that cannot be held .*200 levels",
    ),
    "very deep": (
        "p.jsonl",
        b'{"prediction": "a", "target": ' + b"[" * 100_000,
        "line 1: JSON that cannot be held .*200 levels",
    ),
    "deep in an array": ("p.json", b'[{"target": ' + DEEP + b"}]", "row 1.*200 levels"),
    "a huge number": (
        "p.jsonl",
        b'{"prediction": ' + b"9" * 5000 + b', "target": "a"}',
        "line 1: .*thousands of digits",
    ),
    "a header twice": ("p.csv", b"prediction,target,prediction\na,b,c\n", "columns named twice: prediction"),
    "a header twice, with blanks": (
        "p.csv",
        b"prediction,target, prediction\na,b,c\n",
        "columns named twice: prediction",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_one_row_is_refused(tmp_path: Path, case: str) -> None:
    name, content, said = WRONG[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LuthierError, match=said):
        answers(tmp_path / name)


def test_parquet_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["prediction", "prediction"])
    pa.parquet.write_table(table, tmp_path / "p.parquet")
    with pytest.raises(DataError, match="columns named twice: prediction"):
        answers(tmp_path / "p.parquet")


def test_a_table_of_200_000_columns_takes_no_quadratic_time(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(200_000)]
    path = tmp_path / "wide.csv"
    path.write_text(",".join(names) + "\n" + ",".join("1" for _ in names) + "\n")
    started = time.process_time()
    (_, row), *_ = read_table(path, TableFormat("csv"))
    for refused in (lambda: recognise(row, "here"), lambda: answers(path)):
        with pytest.raises(LuthierError) as fault:
            refused()
        assert len(str(fault.value)) < 10_000
    assert time.process_time() - started < 10


def test_half_a_character_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": "\\ud83d", "prediction": "a \\ud83d", "target": "a \\ud83d"}\n')
    for rows in ("rows.jsonl", "rows.tsv"):
        output = Output(as_json=True, by="id", per_example=tmp_path / rows)
        run_score(ScoreInputs((path,)), ScoreSettings(("rouge", "bleu", "chrf", "exact_match")), output)
        assert json.loads(capsys.readouterr().out)["by"]["\ud83d"]["exact_match"]["value"] == 1.0
        assert "\\ud83d" in (tmp_path / rows).read_text()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (ScoreSettings(seed=-1), "A seed of -1"),
        (ScoreSettings(confidence=1 - 1e-16), r"0\.9999999999999999 makes no interval.*\n.*0\.9999 at most"),
        (ScoreSettings(confidence=float("nan")), "makes no interval"),
        (ScoreSettings(test="mcnemar"), "compares systems, and there is one"),
        (ScoreSettings(test="mcnema"), "Did you mean 'mcnemar'"),
    ],
)
def test_settings_that_mean_nothing_are_refused(tmp_path: Path, settings: ScoreSettings, said: str) -> None:
    path = write(tmp_path / "p.jsonl", [{"prediction": "a", "target": "a"}])
    with pytest.raises(ConfigError, match=said):
        run_score(ScoreInputs((path,)), settings, Output())
