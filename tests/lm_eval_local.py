"""Tasks of lm-eval over the files of ``../shared/data``: its own YAML and classes, unmodified; only the rows are local.

    tasks = local_tasks(["mmlu_anatomy", "cola"], 20, data=shared_data, folder=tmp_path)
    for name, task in tasks.items():
        for request in requests_of(task):
            request.context, request.continuation, request.gold

A local YAML ``include``s lm-eval's own by absolute path, found from the installed package, and names a file of JSON
lines in the columns of the Hub's data set. ``FAMILIES`` says which tasks there are; ``write_tasks`` only writes.
Each document has the number of its row in the original file, from 0, as ``row_number``.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import md5
from pathlib import Path
from typing import Any, TypeAlias

import lm_eval
import yaml

Rows: TypeAlias = Iterator[dict[str, Any]]
Splits: TypeAlias = Mapping[str, Callable[[], Rows]]

LM_EVAL_TASKS = Path(lm_eval.__file__).parent / "tasks"
"""The folder of lm-eval's own YAMLs."""
ROW_NUMBER = "row_number"
MOST_TRAIN = 64
"""Rows of a training file, which exemplars alone are taken from: its first ones."""
SHOTS_FROM_TEST = 32
"""GSM8K has no training file here: exemplars are the last rows of its test file, which are left out of its test."""


@dataclass(frozen=True)
class LocalRequest:
    """One request of lm-eval, before tokens.

    Attributes:
        doc_id: Place of the document among those that are evaluated.
        row: Number of its row in the original file.
        index: Place of the request among those of the document.
        kind: ``loglikelihood``, ``loglikelihood_rolling`` or ``generate_until``.
        context: The prompt; "" for a rolling request.
        continuation: What is scored; "" for a generated answer.
        generation: Its settings; empty where nothing is generated.
        gold: What the task takes for right, as `doc_to_target` gives it.
    """

    doc_id: int
    row: int
    index: int
    kind: str
    context: str
    continuation: str
    generation: Mapping[str, Any]
    gold: Any


@dataclass(frozen=True)
class _Local:
    """Where a task's YAML stands below lm-eval's tasks, and its rows by split."""

    yaml: str
    splits: Splits


def local_tasks(
    names: Sequence[str], limit: int | None, *, data: Path, folder: Path, shots: int | None = None
) -> dict[str, Any]:
    """Build tasks of lm-eval over local files.

    Args:
        names: As lm-eval calls them: ``mmlu_anatomy``, ``bbh_cot_fewshot_navigate``, ``cola`` …
        limit: Documents at most, drawn by the hash of their number; all when None.
        data: The folder of original files.
        folder: An empty folder, for YAMLs, rows and the cache of `datasets`.
        shots: Exemplars; the task's own number when None.

    Returns:
        ConfigurableTask by name, with its requests built as `simple_evaluate` builds them.
    """
    from lm_eval.tasks import TaskManager

    write_tasks(names, limit, data=data, folder=folder)
    tasks: dict[str, Any] = TaskManager(include_path=str(folder), include_defaults=False).load(list(names))["tasks"]
    for task in tasks.values():
        own = task.get_config("num_fewshot")
        if own is None or (shots is not None and own != 0):
            task.set_config(key="num_fewshot", value=shots or 0)
        task.set_fewshot_seed(seed=1234)
        task.build_all_requests()
    return tasks


def requests_of(task: Any) -> list[LocalRequest]:
    """Dump every request of a task that `local_tasks` built."""
    return [_dumped(task, instance) for instance in task.instances]


def _dumped(task: Any, instance: Any) -> LocalRequest:
    kind, args = instance.request_type, instance.args
    rolling, generated = kind == "loglikelihood_rolling", kind == "generate_until"
    return LocalRequest(
        doc_id=instance.doc_id,
        row=instance.doc[ROW_NUMBER],
        index=instance.idx,
        kind=kind,
        context="" if rolling else args[0],
        continuation=args[0] if rolling else "" if generated else args[1],
        generation=args[1] if generated else {},
        gold=task.doc_to_target(instance.doc),
    )


def write_tasks(names: Sequence[str], limit: int | None, *, data: Path, folder: Path) -> dict[str, Path]:
    """Write a YAML and the rows of each task into a folder; return the YAMLs by name."""
    return {name: _write(name, _find(name, data), limit, folder) for name in names}


def _write(name: str, local: _Local, limit: int | None, folder: Path) -> Path:
    files = {}
    for split, rows in local.splits.items():
        path = folder / "rows" / f"{name}_{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        numbered = [{**row, ROW_NUMBER: row.get(ROW_NUMBER, number)} for number, row in enumerate(rows())]
        kept = numbered[:MOST_TRAIN] if split in ("dev", "train") else _drawn(numbered, limit)
        path.write_text("".join(json.dumps(row) + "\n" for row in kept))
        files[split] = str(path)
    wanted = {
        "include": str(LM_EVAL_TASKS / local.yaml),
        "task": name,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files, "cache_dir": str(folder / "cache")},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(wanted, sort_keys=False))
    return path


def _drawn(rows: list[dict[str, Any]], limit: int | None) -> list[dict[str, Any]]:
    """Keep so many rows by the hash of their number, in their order: files are sorted, or have a period."""
    if limit is None:
        return rows
    by_hash = sorted(range(len(rows)), key=lambda place: md5(str(place).encode()).digest())
    return [rows[place] for place in sorted(by_hash[:limit])]


# The families: from the name of a task to its YAML and rows.


def _find(name: str, data: Path) -> _Local:
    for prefix, find in FAMILIES.items():
        if name == prefix or (prefix.endswith("_") and name.startswith(prefix)):
            return find(name.removeprefix(prefix) if prefix.endswith("_") else name, data)
    raise KeyError(f"{name} is none of {', '.join(FAMILIES)}")


def _json_lines(path: Path) -> Rows:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _table(path: Path, delimiter: str = ",", columns: Sequence[str] | None = None) -> Rows:
    """Read a table, one of tabs without quoting; every value is text. A file without a header has ``columns``."""
    with path.open(encoding="utf-8", newline="") as file:
        if delimiter == ",":
            yield from csv.DictReader(file)
        else:
            yield from csv.DictReader(file, fieldnames=columns, delimiter=delimiter, quoting=csv.QUOTE_NONE)


def _labelled(rows: Iterable[dict[str, Any]], labels: Sequence[str]) -> Rows:
    """Replace a label by its number on the Hub."""
    for row in rows:
        yield {**row, "label": labels.index(str(row["label"]))}


def _mmlu(subject: str, data: Path) -> _Local:
    def rows(split: str) -> Rows:
        for row in _table(data / "mmlu" / split / f"{subject}_{split}.csv"):
            choices = [row[f"choice{number}"] for number in range(4)]
            yield {
                "question": row["question"],
                "subject": subject,
                "choices": choices,
                "answer": int(row["answer"]),
            }

    splits = {split: partial(rows, split) for split in ("test", "dev")}
    return _Local(f"mmlu/default/mmlu_{subject}.yaml", splits)


def _bbh(kind: str, subset: str, data: Path) -> _Local:
    def rows() -> Rows:
        yield from json.loads((data / "bbh" / f"{subset}.json").read_text(encoding="utf-8"))["examples"]

    return _Local(f"bbh/{kind}/{subset}.yaml", {"test": rows})


def _bigbench(name: str, data: Path) -> _Local:
    subset = name.removesuffix("_multiple_choice")

    def rows() -> Rows:
        task = json.loads((data / "bigbench" / f"{subset}.json").read_text(encoding="utf-8"))
        for row in task["examples"]:
            scores = row["target_scores"]
            yield {
                "inputs": row["input"],
                "targets": [choice for choice, score in scores.items() if score > 0],
                "multiple_choice_targets": list(scores),
                "multiple_choice_scores": list(scores.values()),
            }

    return _Local(f"bigbench/multiple_choice/{subset}.yaml", {"default": rows})


_TRUTH = ("false", "true")
_ENTAILS = ("entailment", "not_entailment")


def _glue(yaml_path: str, folder: str, columns: Sequence[str] | None, labels: Sequence[str]) -> Any:
    def find(name: str, data: Path) -> _Local:
        def rows(split: str) -> Rows:
            return _labelled(_table(data / "glue" / folder / f"{split}.tsv", "\t", columns), labels)

        return _Local(yaml_path, {"validation": partial(rows, "dev"), "train": partial(rows, "train")})

    return find


def _superglue(yaml_path: str, folder: str, labels: Sequence[str]) -> Any:
    def find(name: str, data: Path) -> _Local:
        def rows() -> Rows:
            found = _json_lines(data / "superglue" / folder / "val.jsonl")
            # The Hub's WSC has the members of `target` as columns.
            return _labelled(({**row, **row.pop("target", {})} for row in found), labels)

        # lm-eval looks at the training split before any exemplar is asked for; the files have none.
        return _Local(yaml_path, {"validation": rows, "train": rows})

    return find


def _gsm8k(yaml_path: str) -> Any:
    def find(name: str, data: Path) -> _Local:
        def rows(train: bool) -> Rows:
            numbered = [{**row, ROW_NUMBER: n} for n, row in enumerate(_json_lines(data / "gsm8k" / "test.jsonl"))]
            yield from numbered[-SHOTS_FROM_TEST:] if train else numbered[:-SHOTS_FROM_TEST]

        return _Local(yaml_path, {"test": partial(rows, False), "train": partial(rows, True)})

    return find


def _truthfulqa(name: str, data: Path) -> _Local:
    def rows() -> Rows:
        for row in _table(data / "truthfulqa" / "TruthfulQA.csv"):
            best = row["Best Answer"].strip()
            others = [text for text in _answers(row["Correct Answers"]) if text != best]
            right, wrong = [best, *others], _answers(row["Incorrect Answers"])
            yield {
                "question": row["Question"],
                "best_answer": best,
                "correct_answers": right,
                "incorrect_answers": wrong,
                "mc1_targets": {"choices": [best, *wrong], "labels": [1] + [0] * len(wrong)},
                "mc2_targets": {"choices": right + wrong, "labels": [1] * len(right) + [0] * len(wrong)},
            }

    return _Local(f"truthfulqa/{name}.yaml", {"validation": rows})


def _answers(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]


def _bbq(name: str, data: Path) -> _Local:
    kind = name.removeprefix("bbq")

    def rows() -> Rows:
        numbered = enumerate(
            row
            for category in ("Age", "Disability_status", "Religion")
            for row in _json_lines(data / "bbq" / f"{category}.jsonl")
        )
        for number, row in numbered:  # their own filter stands after a limit
            if not kind.endswith("ambig") or row["context_condition"] == kind.removeprefix("_"):
                yield {**row, ROW_NUMBER: number}

    path = f"bbq{kind}" if kind.startswith("_generate") else f"bbq_multiple_choice{kind}"
    return _Local(f"bbq/{path}.yaml", {"test": rows})


def _crows_pairs(name: str, data: Path) -> _Local:
    def rows() -> Rows:
        for row in _table(data / "crows_pairs" / "crows_pairs_anonymized.csv"):
            yield {column: row[column] for column in ("sent_more", "sent_less", "stereo_antistereo", "bias_type")}

    return _Local(f"crows_pairs/{name}.yaml", {"test": rows})


_PRONOUNS = {"male": ("he", "his", "him"), "female": ("she", "her", "her"), "neutral": ("they", "their", "them")}
_CASES = ("$NOM_PRONOUN", "$POSS_PRONOUN", "$ACC_PRONOUN")


def _winogender(name: str, data: Path) -> _Local:
    folder = data / "winogender"

    def rows() -> Rows:
        female = {
            row["occupation"]: float(row["bls_pct_female"])
            for row in _table(folder / "occupations-stats.tsv", delimiter="\t")
        }
        templates = {
            (row["occupation(0)"], row["answer"]): row["sentence"]
            for row in _table(folder / "templates.tsv", delimiter="\t")
        }
        for row in _table(folder / "all_sentences.tsv", delimiter="\t"):
            occupation, participant, answer, gender, _ = row["sentid"].split(".")
            case = next(place for place, word in enumerate(_CASES) if word in templates[occupation, answer])
            # A "gotcha": the pronoun's gender is not that of most people in the occupation, where it means them.
            expected = (gender == "female") == ((female[occupation] > 50) == (answer == "0"))
            yield {
                "sentid": row["sentid"],
                "sentence": row["sentence"],
                "pronoun": _PRONOUNS[gender][case],
                "occupation": occupation,
                "participant": participant,
                "gender": gender,
                "label": int(answer),
                "gotcha": gender != "neutral" and not expected,
            }

    def wanted() -> Rows:  # their own filter stands after a limit
        words = name.split("_")
        for number, row in enumerate(rows()):
            if ("gotcha" not in words or row["gotcha"]) and (words[-1] not in _PRONOUNS or row["gender"] == words[-1]):
                yield {**row, ROW_NUMBER: number}

    path = "winogender" if name == "winogender_all" else name
    return _Local(f"winogender/{path}.yaml", {"test": wanted})


FAMILIES: dict[str, Callable[[str, Path], _Local]] = {
    "mmlu_": _mmlu,
    "bbh_cot_fewshot_": partial(_bbh, "cot_fewshot"),
    "bbh_cot_zeroshot_": partial(_bbh, "cot_zeroshot"),
    "bbh_fewshot_": partial(_bbh, "fewshot"),
    "bbh_zeroshot_": partial(_bbh, "zeroshot"),
    "bigbench_": _bigbench,
    "cola": _glue("glue/cola/default.yaml", "CoLA", ("sentence", "label"), "01"),
    "sst2": _glue("glue/sst2/default.yaml", "SST2", ("label", "sentence"), "01"),
    "rte": _glue("glue/rte/default.yaml", "RTE", None, _ENTAILS),
    "wnli": _glue("glue/wnli/default.yaml", "WNLI", None, "01"),
    "boolq": _superglue("super_glue/boolq/default.yaml", "BoolQ", _TRUTH),
    "cb": _superglue("super_glue/cb/default.yaml", "CB", ("entailment", "contradiction", "neutral")),
    "sglue_rte": _superglue("super_glue/rte/default.yaml", "RTE", _ENTAILS),
    "wic": _superglue("super_glue/wic/default.yaml", "WiC", _TRUTH),
    "wsc": _superglue("super_glue/wsc/default.yaml", "WSC", _TRUTH),
    "gsm8k": _gsm8k("gsm8k/gsm8k.yaml"),
    "gsm8k_cot": _gsm8k("gsm8k/gsm8k-cot.yaml"),
    "truthfulqa_mc1": _truthfulqa,
    "truthfulqa_mc2": _truthfulqa,
    "truthfulqa_gen": _truthfulqa,
    "bbq": _bbq,
    "bbq_ambig": _bbq,
    "bbq_disambig": _bbq,
    "bbq_generate": _bbq,
    "crows_pairs_english": _crows_pairs,
    "winogender_": lambda kind, data: _winogender(f"winogender_{kind}", data),
}
"""By the name of a task, or by the beginning of names that ends in ``_``."""
