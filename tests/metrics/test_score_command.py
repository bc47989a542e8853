"""``luthier score``: every kind of file, several systems, worked examples, and clear refusals."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
import sacrebleu
from metric_rows import with_choices

from luthier.errors import Faults, LuthierError
from luthier.metrics.prediction_log import write_predictions
from luthier.metrics.score_command import Output, ScoreSettings, run_score
from luthier.metrics.score_inputs import Columns, ScoreInputs
from luthier.tasks.rows.sources import Source, read_rows

GIVEN = ["It is very cold outside", "outside cold it is", "cold cold cold cold"]
TRUE = ["It is cold outside"] * 3
Scored = Callable[..., dict[str, Any]]


def score(
    predictions: Sequence[Path],
    references: Sequence[Path] = (),
    *,
    prediction_column: str = "",
    reference_column: str = "",
    allow_empty: bool = False,
    metrics: Sequence[str] = ("rouge",),
    confidence: float = 0.95,
    **output: Any,
) -> None:
    """Run the command."""
    columns = Columns(prediction_column, reference_column)
    inputs = ScoreInputs(tuple(predictions), tuple(references), columns, allow_empty)
    run_score(inputs, ScoreSettings(tuple(metrics), confidence), Output(**output))


@pytest.fixture
def scored(capsys: pytest.CaptureFixture[str]) -> Scored:
    """Run the command with ``--json`` and parse what it prints."""

    def run(*args: Any, **settings: Any) -> dict[str, Any]:
        score(*args, as_json=True, **settings)
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return run


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    got, wanted = tmp_path / "p.txt", tmp_path / "r.txt"
    got.write_text("\n".join(GIVEN) + "\n", encoding="utf-8")
    wanted.write_text("\n".join(TRUE) + "\n", encoding="utf-8")
    return got, wanted


def test_text_files(files: tuple[Path, Path], scored: Scored) -> None:
    found = scored([files[0]], [files[1]])
    assert set(found["rouge1"]) == {"value", "precision", "recall", "f1", "low", "high", "n"}
    assert found["rouge1"]["precision"] == pytest.approx((0.8 + 1 + 0.25) / 3)
    assert found["rouge1"]["recall"] == pytest.approx((1 + 1 + 0.25) / 3)
    assert found["signature"].startswith("metric:rouge|nrefs:1|stem:no")


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix in (".parquet", ".pq"):
        pa.parquet.write_table(pa.Table.from_pylist(rows), path)
        return
    if path.name.startswith("array"):
        text = json.dumps(rows, indent=1)
    elif not {".csv", ".tsv", ".tab"} & set(path.suffixes):
        text = "\n".join(json.dumps(row) for row in rows)
    else:
        separator = "," if ".csv" in path.name else "\t"
        text = "\n".join(separator.join(map(str, cells)) for cells in [list(rows[0]), *(row.values() for row in rows)])
    packed = path.suffix == ".gz" or path.name.startswith("packed")
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if packed else text.encode())


FILES = """
    t.jsonl t.ndjson lines.json t.jsonl.gz packed.jsonl packed.ndjson t t.out packed.out.gz
    array.json array.jsonl array.json.gz t.tsv t.tab t.tsv.gz packed.tab t.csv t.csv.gz packed.csv t.parquet t.pq
"""


@pytest.mark.parametrize("name", FILES.split())
def test_tables_say_the_same_as_text(name: str, tmp_path: Path, files: tuple[Path, Path], scored: Scored) -> None:
    table = tmp_path / name
    write_table(
        table,
        [{"id": f"x{i}", "prediction": g, "reference": t} for i, (g, t) in enumerate(zip(GIVEN, TRUE, strict=True))],
    )
    assert scored([table])["rouge1"] == scored([files[0]], [files[1]])["rouge1"]


@pytest.mark.parametrize("name", ["p.jsonl", "p.json", "p.csv", "p.tsv", "p.parquet"])
def test_what_training_reads_is_read_alike(name: str, tmp_path: Path, scored: Scored) -> None:
    """Long fields, commas, quotes and line breaks in them, and blank lines between the rows."""
    long = "word, " * 40_000 + '"quoted"'
    texts = [long, "a b"] if name.endswith("tsv") else [long, "a\nb"]
    rows: list[dict[str, Any]] = [{"prediction": text, "target": text} for text in texts]
    path = tmp_path / name
    if name.endswith(".csv"):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows[:1])
            file.write("\n\n")
            writer.writerows(rows[1:])
    else:
        write_table(path, rows)
    assert list(read_rows(Source(str(path)))) == rows
    found = scored([path], metrics=["exact_match"])
    assert (found["exact_match"]["value"], found["exact_match"]["n"]) == (1.0, 2)


def test_rows_that_have_no_line_are_named_by_their_number(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"prediction": "a", "target": "a"}, {"prediction": None, "target": "b"}]
    for name in ("t.parquet", "array.json"):
        write_table(tmp_path / name, rows)
        with pytest.raises(LuthierError, match="row 2: The text is empty"):
            score([tmp_path / name])


def test_all_faults_of_a_table_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"prediction": "a", "target": "a"}\nno\n{"prediction": "a", "target": "a"}\n[]\n')
    with pytest.raises(Faults) as faults:
        score([path])
    assert [fault.where for fault in faults.value.faults] == [f"{path}, line 2", f"{path}, line 4"]


def test_a_text_of_any_name_may_begin_with_a_bracket(tmp_path: Path, scored: Scored) -> None:
    for name in ("answers", "answers.en", "answers.txt"):
        (tmp_path / name).write_text("[laughs] yes\n{no}\n\n")
        found = scored([tmp_path / name], [tmp_path / name], metrics=["exact_match"], allow_empty=True)
        assert (found["exact_match"]["value"], found["exact_match"]["n"]) == (1.0, 3)


def test_columns_of_any_name_and_several_references(tmp_path: Path, scored: Scored) -> None:
    table = tmp_path / "t.jsonl"
    write_table(table, [{"mine": "a b", "theirs": ["x", "a b"]}, {"mine": "c", "theirs": ["c", "d"]}])
    found = scored([table], metrics=["exact_match"], prediction_column="mine", reference_column="theirs")
    assert found["exact_match"]["value"] == 1.0
    assert "nrefs:2" in found["signature"]


def test_several_reference_files(files: tuple[Path, Path], tmp_path: Path, scored: Scored) -> None:
    more = tmp_path / "r2.txt"
    more.write_text("\n".join(GIVEN) + "\n")
    assert scored([files[0]], [files[1], more], metrics=["exact_match"])["exact_match"]["value"] == 1.0


def test_a_log_of_a_run_and_its_folder(tmp_path: Path, scored: Scored) -> None:
    write_predictions(tmp_path / "predictions.jsonl", with_choices([0.9, 0.2, 0.7], ["yes", "yes", "yes"]))
    for path in (tmp_path / "predictions.jsonl", tmp_path):
        found = scored([path], metrics=["accuracy,ece"])
        assert found["accuracy"]["value"] == pytest.approx(2 / 3)
        assert set(found) == {"accuracy", "ece_10", "ece_15", "ece_mass_10", "ece_mass_15", "signature"}
    packed = tmp_path / "packed.jsonl"
    packed.write_bytes(gzip.compress((tmp_path / "predictions.jsonl").read_bytes()))
    assert scored([packed], metrics=["accuracy,ece"]) == found


def test_several_systems_are_compared_in_pairs(files: tuple[Path, Path], tmp_path: Path, scored: Scored) -> None:
    other = tmp_path / "q.txt"
    other.write_text("\n".join(TRUE) + "\n")
    found = scored([files[0], other], [files[1]], metrics=["exact_match"])
    assert found["systems"]["q.txt"]["exact_match"]["value"] == 1.0
    (difference,) = found["differences"]
    assert (difference["first"], difference["second"], difference["value"]) == ("p.txt", "q.txt", -1.0)
    assert 0 < difference["p_value"] <= difference["p_holm"] <= 1


def test_by_column(tmp_path: Path, scored: Scored) -> None:
    table = tmp_path / "t.jsonl"
    rows = [("a", "a", "x"), ("b", "a", "x"), ("a", "a", "y"), ("c", "c", "y")]
    write_table(table, [{"prediction": p, "target": t, "kind": k} for p, t, k in rows])
    found = scored([table], metrics=["accuracy"], by="kind")
    assert {kind: part["accuracy"]["value"] for kind, part in found["by"].items()} == {"x": 0.5, "y": 1.0}


def test_rows_for_each_example(files: tuple[Path, Path], tmp_path: Path, scored: Scored) -> None:
    scored([files[0]], [files[1]], metrics=["rouge,bleu"], per_example=tmp_path / "rows.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["rouge1"] for row in rows] == pytest.approx([8 / 9, 1.0, 0.25])
    assert (rows[0]["id"], rows[0]["system"]) == ("1", "p.txt")
    scored([files[0]], [files[1]], per_example=tmp_path / "rows.tsv")
    assert (tmp_path / "rows.tsv").read_text().splitlines()[0] == "system\tid\trouge1\trouge2\trougeL\trougeLsum"


def test_table_on_a_terminal(files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "[bold]q.txt"
    other.write_text("\n".join(TRUE) + "\n")
    score([files[0], other], [files[1]], metrics=["rouge"])
    shown = capsys.readouterr().out
    assert "0.7130" in shown  # (8/9 + 1 + 1/4) / 3
    assert "[bold]q.txt" in shown
    assert "p.txt minus" in shown
    assert "metric:rouge|nrefs:1|stem:no|reference:rouge-score-0.1.2|ci:95%bca1000" in shown


def test_a_worked_example(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    score([files[0]], [files[1]], explain_id="3")
    shown = capsys.readouterr().out
    assert "1 × cold  clipped: 4 times here, 1 in the reference" in shown
    assert "1 of 4 in the prediction, of 4 in the reference" in shown
    assert "longest common subsequence, 1 words\n  cold" in shown
    score([files[0]], [files[1]], explain_id="1", metrics=["rouge", "bleu"])
    shown = capsys.readouterr().out
    assert "longest common subsequence, 4 words\n  it is cold outside" in shown
    assert "sentence BLEU  " in shown


def explained(capsys: pytest.CaptureFixture[str], got: str, wanted: str, metric: str, folder: Path) -> str:
    (folder / "got").write_text(got)
    (folder / "wanted").write_text(wanted)
    score([folder / "got"], [folder / "wanted"], explain_id="1", metrics=[metric])
    return capsys.readouterr().out


def test_bleu_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = explained(capsys, "It is very cold outside", "It is cold outside", "bleu", tmp_path)
    assert "precision of 1-grams  100 · 4/5 = 80.00" in shown
    assert "precision of 2-grams  100 · 2/4 = 50.00" in shown
    assert "precision of 3-grams  100 / (2^1 · 3), smoothed by exp: precision 1 without a match = 16.67" in shown
    assert "precision of 4-grams  100 / (2^2 · 2), smoothed by exp: precision 2 without a match = 12.50" in shown
    assert "geometric mean         (80.00 · 50.00 · 16.67 · 12.50)^(1/4) = 30.21" in shown
    assert "brevity penalty        5 words against 4, not shorter: 1" in shown
    assert "sentence BLEU  1.0000 · 30.21 = 30.21" in shown
    shown = explained(capsys, "it is cold", "It is cold outside", "bleu:lowercase=yes", tmp_path)
    assert "precision of 4-grams  none: the sentence has fewer than 4 words, so the mean is of 3 precisions" in shown
    assert "3 words against 4: exp(1 - 4/3) = 0.7165" in shown
    assert "sentence BLEU  0.7165 · 100.00 = 71.65" in shown


@pytest.mark.parametrize("settings", ["", ":smooth=floor", ":smooth=add-k", ":smooth=none", ":tokenize=char"])
@pytest.mark.parametrize("got", ["a b c x", "a b", "x y z", "a", "a b c d e f"])
def test_bleu_by_hand_ends_at_sacrebleus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], got: str, settings: str
) -> None:
    shown = explained(capsys, got, "a b c d", f"bleu{settings}", tmp_path)
    options = dict(pair.split("=") for pair in settings.split(":")[1:])
    expected = sacrebleu.BLEU(
        tokenize=options.get("tokenize", "13a"), smooth_method=options.get("smooth", "exp"), effective_order=True
    ).sentence_score(got, ["a b c d"])
    assert shown.splitlines()[-1].endswith(f" {expected.score:.2f}")


@pytest.mark.parametrize(
    ("got", "wanted", "message"),
    [
        (b"a\nb\n", b"a\n", r"p\.txt, line 2: .*p\.txt has 2 rows and .*r\.txt has 1"),
        (b"a\n\n", b"a\nb\n", r"p\.txt, line 2: The text is empty"),
        (b"a\nb\n", b"a\n  \n", r"r\.txt, line 2: The text is empty"),
        (b"a\ncaf\xe9\n", b"a\nb\n", r"p\.txt, line 2: not UTF-8: byte 0xe9 at byte 4 of the line"),
    ],
)
def test_refusals_name_the_line(got: bytes, wanted: bytes, message: str, files: tuple[Path, Path]) -> None:
    files[0].write_bytes(got)
    files[1].write_bytes(wanted)
    with pytest.raises(LuthierError, match=message):
        score([files[0]], [files[1]])


def test_empty_answers_can_be_scored_when_asked_for(files: tuple[Path, Path], scored: Scored) -> None:
    files[0].write_text("It is cold outside\n\n\n")
    assert scored([files[0]], [files[1]], allow_empty=True)["rouge1"]["value"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.jsonl", b'{"prediction": "a", "target": "a"}\n{"pre', "line 2: not JSON"),
        ("t.jsonl", b'{"prediction": "a", "target": "a"}\n{"target": "a"}', "line 2: 'prediction' is missing"),
        ("t.jsonl", b'{"output_text": "a", "target": "a"}', "no column that looks like a prediction"),
        (
            "t.jsonl",
            b'{"id": 1, "prediction": "a", "target": "a"}\n{"id": 1, "prediction": "b", "target": "b"}',
            "lines 1 and 2",
        ),
        ("t.tsv", b"prediction\ttarget\na\tb\nonly\n", "line 3: 1 fields where there are 2 columns"),
        ("t.parquet", b"not parquet", "not a Parquet file that can be read"),
        ("t.txt.gz", gzip.compress(b"a" * 99, mtime=0)[:-9], "the gzip stream is damaged or cut short"),
        ("t.txt", b"a\n", "Give the right answers with --references"),
        ("t.jsonl", b"", "the file is empty"),
        ("t.csv", b"prediction,target\n", "The table has no rows"),
    ],
)
def test_damaged_tables_are_told(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(LuthierError, match=message):
        score([path])


def test_wrong_settings_are_told(files: tuple[Path, Path]) -> None:
    with pytest.raises(LuthierError, match="Did you mean 'rouge'"):
        score([files[0]], [files[1]], metrics=["rogue"])
    with pytest.raises(LuthierError, match="There is no example '9'"):
        score([files[0]], [files[1]], explain_id="9")
    with pytest.raises(LuthierError, match="no column 'topic'"):
        score([files[0]], [files[1]], by="topic")
    with pytest.raises(LuthierError, match="between 0 and 1"):
        score([files[0]], [files[1]], confidence=95)


def test_windows_line_ends_and_other_separators_are_no_lines(files: tuple[Path, Path], scored: Scored) -> None:
    files[0].write_bytes("\ufeffIt is\u2028cold outside\r\n".encode())
    files[1].write_bytes(b"It is cold outside\n")
    assert scored([files[0]], [files[1]])["rouge1"]["value"] == 1.0


def test_the_headings_say_the_level_of_the_intervals(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    score([files[0], files[1]], [files[1]], confidence=0.8)
    headings = [line for line in capsys.readouterr().out.splitlines() if "┃" in line]
    assert any("80 % interval" in line for line in headings)
    # The table of differences is wider and may wrap its heading.
    assert sum("80 %" in line for line in headings) == 2
