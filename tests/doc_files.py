"""The small files that the pages of the documentation presuppose: a reader's own rows, answers, tasks and models."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

import example_run
from luthier.models.names import EMBEDDED
from small_job import write_rows

_SAID = {
    "negative": ("A dull book.", "The soup was cold.", "I left early.", "Never again."),
    "positive": ("A lovely film.", "The best bread in town.", "I laughed all evening.", "Come back soon."),
}
_WHEN = ("today", "on Monday", "in May")
_ANSWERS = ("It is very cold outside", "cold cold cold cold", "outside cold it is", "It is not cold outside")
_RIGHT = "It is cold outside"
_REVIEWS = """\
name: reviews
source: reviews.jsonl
target: "{{ label }}"
choices: [negative, positive]
metrics: [accuracy]
templates:
  - name: question
    prompt: "Review: {{ review }}\\nIs it positive or negative?"
"""
_OTHER = """\
name: {name}
source: rows.jsonl
target: "{{{{ completion }}}}"
metrics: [exact_match]
max_new_tokens: 4
templates:
  - name: plain
    prompt: "{{{{ prompt }}}}"
"""


def write_files(folder: Path) -> None:
    """Write what a reader of any page may have."""
    _write_rows_to_learn(folder)
    _write_answers(folder)
    (folder / "reviews.yaml").write_text(_REVIEWS, encoding="utf-8")
    for name in ("my_task", "my_other_task"):
        (folder / f"{name}.yaml").write_text(_OTHER.format(name=name), encoding="utf-8")
    (folder / "path" / "to").mkdir(parents=True)
    (folder / "path" / "to" / "model").symlink_to(EMBEDDED["mini"])


def write_benchmarks(folder: Path) -> None:
    """Write a folder of benchmark files in their original layouts, with rows of ours."""
    question = {
        "question": "Which is a bone?",
        "choice0": "rib",
        "choice1": "skin",
        "choice2": "eye",
        "choice3": "lung",
    }
    for split, count in (("dev", 5), ("test", 4)):
        path = folder / "benchmarks" / "mmlu" / split / f"anatomy_{split}.csv"
        path.parent.mkdir(parents=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [*question, "answer"])
            writer.writeheader()
            writer.writerows({**question, "question": f"{n}. Which is a bone?", "answer": 0} for n in range(count))
    for split in ("train", "dev"):
        path = folder / "benchmarks" / "glue" / "SST2" / f"{split}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        said = [
            (label, f"{text} {when} {split}")
            for label, name in enumerate(_SAID)
            for text in _SAID[name]
            for when in _WHEN
        ]
        path.write_text("".join(f"{label}\t{text}\n" for label, text in said), encoding="utf-8")
    boolq = folder / "benchmarks" / "superglue" / "BoolQ" / "val.jsonl"
    boolq.parent.mkdir(parents=True)
    asked = [
        {"passage": f"{place} is warm.", "question": f"is {place} warm", "label": "true"} for place in ("Rome", "Cairo")
    ]
    write_rows(boolq, asked)


def write_run(folder: Path) -> None:
    """Write a finished run of invented numbers, as a reader of the pages about runs has one."""
    example_run.build(folder / "runs" / "my_run", rows=20)


def write_published(folder: Path) -> None:
    """Write an adapter as others publish theirs, with PEFT alone."""
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(EMBEDDED["mini"]), LoraConfig(r=2))
    model.peft_config["default"].base_model_name_or_path = "mini"
    model.save_pretrained(str(folder / "published"), save_embedding_layers=False)


def _write_rows_to_learn(folder: Path) -> None:
    reviews = [
        {"id": number, "review": f"{text} {when}", "label": label}
        for number, (label, text, when) in enumerate(
            (label, text, when) for when in _WHEN for label, texts in _SAID.items() for text in texts
        )
    ]
    write_rows(folder / "reviews.jsonl", reviews)
    new = [{"id": row["id"], "review": row["review"]} for row in reviews[:3]]
    write_rows(folder / "new.jsonl", new)
    _write_table(folder / "new.csv", new)
    asked = [{"prompt": f"Count to {number}:"} for number in range(30)]
    pairs = [{"prompt": f"Say {number}:", "completion": str(number)} for number in range(16)]
    write_rows(folder / "rows.jsonl", pairs)
    write_rows(folder / "prefs.jsonl", [own | {"chosen": f"{n}.", "rejected": "no"} for n, own in enumerate(asked)])
    _write_table(folder / "rows.csv", [{"city": f"Town {n}", "land": ("Peru", "Chad")[n % 2]} for n in range(20)])
    for split, count in (("train", 6), ("dev", 2), ("test", 2)):
        _write_table(
            folder / f"{split}.csv",
            [{"meeting": f"Ann: We meet in room {split} {n}.", "summary": f"Room {split} {n}."} for n in range(count)],
        )
        lines = [f"{n % 2}\t{split} {n} is {('dull', 'lovely')[n % 2]}" for n in range(count)]
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _write_table(
        folder / "tickets.csv",
        [{"ticket": f"Ticket {n}: it does not start", "team": ("repairs", "sales")[n % 2]} for n in range(20)],
    )
    write_rows(folder / "sums.jsonl", [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(20)])
    write_rows(folder / "held_out.jsonl", [{"text": "The cat sat on the mat."}, {"text": "A fox ran by the sea."}])


def _write_answers(folder: Path) -> None:
    """Write answers of one system and of two, and what would have been right."""
    for answers, right in (("answers.txt", "right.txt"), ("p.txt", "r.txt")):
        (folder / answers).write_text("\n".join(_ANSWERS) + "\n", encoding="utf-8")
        (folder / right).write_text(f"{_RIGHT}\n" * len(_ANSWERS), encoding="utf-8")
    for name, texts in (("lora", _ANSWERS), ("full", _ANSWERS[::-1])):
        write_rows(folder / f"{name}.jsonl", [{"id": n, "prediction": text} for n, text in enumerate(texts)])
    write_rows(folder / "test.jsonl", [{"id": n, "reference": _RIGHT} for n in range(len(_ANSWERS))])
    for name, texts in (("ours", _ANSWERS), ("theirs", _ANSWERS[::-1])):
        write_rows(folder / f"{name}.jsonl", [{"prediction": text, "reference": _RIGHT} for text in texts])


def _write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
