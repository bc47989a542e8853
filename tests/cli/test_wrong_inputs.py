"""Wrong inputs, through the command line: a message that names the place and the cure, exit code 2, nothing lost."""

from __future__ import annotations

import gzip
import json
import resource
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from small_job import (
    COLOUR,
    ECHO,
    QUICK,
    QUICK_EVAL,
    QUICK_TRAINING,
    Refused,
    Workshop,
    digests,
    luthier,
    rows,
    write_rows,
    write_task,
)
from tiny_models import tiny_folder

TRAIN = rows("train", 12)
LONG = "x" * 150
"""More characters than the tiny model has positions."""


def changed(numbers: range, **values: str) -> list[dict[str, str]]:
    """Training rows, some of them with other values."""
    return [{**row, **values} if number in numbers else row for number, row in enumerate(TRAIN)]


def lines(content: list[dict[str, str]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in content).encode()


# Bytes of the training file, flags after the command, and what the message must say.
WRONG_ROWS: dict[str, tuple[bytes, tuple[str, ...], tuple[str, ...]]] = {
    "malformed row 7": (
        lines(TRAIN[:6]) + b'{"id": "train-6", "text": }\n' + lines(TRAIN[7:]),
        (),
        ("train.jsonl, line 7", "not JSON: Expecting value at column 27", "one JSON object a line"),
    ),
    "row that is a list": (lines(TRAIN[:3]) + b"[1]\n", (), ("train.jsonl, line 4", "must be a JSON object")),
    "two malformed rows at once": (
        lines(TRAIN[:2]) + b"{\n" + lines(TRAIN[3:5]) + b"}\n",
        (),
        ("2 rows of", "train.jsonl, line 3", "train.jsonl, line 6"),
    ),
    "Latin-1 bytes": (
        lines(TRAIN[:2]) + b'{"id": "q", "text": "caf\xe9", "answer": "cat"}\n',
        (),
        ("train.jsonl, line 3", "byte 0xe9", "Save the file as UTF-8"),
    ),
    "UTF-16": ("\ufeff{}\n".encode("utf-16-le"), (), ("train.jsonl", "UTF-16", "Save the file as UTF-8")),
    "NUL bytes": (lines(TRAIN[:1]) + b'{"a": "\x00"}\n', (), ("train.jsonl, line 2", "NUL byte")),
    "truncated gzip": (
        gzip.compress(lines(TRAIN), mtime=0)[:-12],
        (),
        ("train.jsonl, after the start", "damaged or cut short"),
    ),
    "zip": (b"PK\x03\x04rest", (), ("train.jsonl", "the file is zip", "Unpack it")),
    "empty file": (b"", (), ("train.jsonl", "the file is empty", "Give a file that has rows")),
    "blank lines only": (b"\n\n", (), ("train.jsonl", "there are no rows")),
    "column that is missing in one row": (
        lines(TRAIN[:4]) + b'{"id": "z", "text": "a"}\n',
        (),
        ("train.jsonl, row 5", "echo.yaml, line 8, target", "column 'answer' does not exist", "Known: id, text."),
    ),
    "every target empty": (
        lines(changed(range(12), answer=" ")),
        (),
        ("12 of 21 rows", "train.jsonl, row 1", "data.max_lost"),
    ),
    "over 10 % empty": (
        lines(changed(range(4, 7), answer="")),
        (),
        ("3 of 21 rows", "(14", "train.jsonl, row 5", "--set data.max_lost=0.15"),
    ),
    "over 10 % too long": (
        lines(changed(range(2), answer=LONG)),
        (),
        (
            "2 of 12 training examples do not fit",
            "shorten the targets, or allow that so many are lost: --set data.max_lost=0.17",
        ),
    ),
    "all rows too long": (
        lines(changed(range(12), answer=LONG)),
        ("--set", "data.max_lost=1"),
        ("echo.yaml", "none of the 12 training examples fits", "Use a model that holds longer texts"),
    ),
    "one id twice": (
        lines(changed(range(3, 5), id="twin")),
        (),
        ("echo.yaml", "the id 'twin' in column 'id' is not unique", "unique ids"),
    ),
    "every training row stands in test too": (
        lines([{**row, "id": f"train-{row['id']}"} for row in rows("test", 6)]),
        (),
        ("echo.yaml", "no training example is left", "6 duplicates removed from training"),
    ),
}


@pytest.mark.parametrize("case", WRONG_ROWS)
def test_wrong_rows(case: str, workshop: Workshop, job: Path, refused: Refused) -> None:
    content, flags, says = WRONG_ROWS[case]
    (job / "train.jsonl").write_bytes(content)
    refused(*workshop.compare, "--task", job / "echo.yaml", "--arms", "full", *flags, says=says)


# Changes to the task's YAML, and what the message must say.
WRONG_TASKS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "missing data file": (
        {"source": {"train": "trian.jsonl", "test": "test.jsonl"}},
        ("trian.jsonl: no such file", "Did you mean", "train.jsonl"),
    ),
    "unknown key": ({"promt": "x"}, ("echo.yaml, line 21", "unknown key 'promt'", "Known:")),
    "value of the wrong type": ({"max_new_tokens": "many"}, ("echo.yaml, line ", "'max_new_tokens'", "'many'")),
    "two faults at once": (
        {"max_new_tokens": 0, "chanse": 1},
        ("echo.yaml has 2 faults", "'max_new_tokens'", "unknown key 'chanse'", "Did you mean 'chance'?"),
    ),
    "no name": ({"name": ""}, ("echo.yaml, line 1", "'name'", "lower-case letters")),
    "no source": ({"source": None}, ("echo.yaml", "key 'source' is missing", "Add `source:`")),
    "no target": ({"target": None}, ("echo.yaml", "there is no target", "target:")),
    "unknown column": (
        {"templates": [{"name": "plain", "prompt": "{{ txt }}"}]},
        ("train.jsonl, row 1", "column 'txt' does not exist", "Did you mean 'text'?", "templates.0.prompt"),
    ),
    "template that is not Jinja": (
        {"templates": [{"name": "plain", "prompt": "{{ text "}]},
        ("echo.yaml, line ", "templates.0.prompt"),
    ),
    "every template held out": (
        {"templates": [{"name": "plain", "prompt": "{{ text }}", "held_out": True}]},
        ("echo.yaml, line ", "every template is held out"),
    ),
    "unknown metric": (
        {"metrics": ["rogue"], "primary": None},
        ("echo.yaml, line 1", "'rogue'", "Did you mean 'rouge'?"),
    ),
    "primary that no metric gives": (
        {"primary": "rougeL"},
        ("echo.yaml, line ", "'rougeL' is not among what the metrics give", "token_f1"),
    ),
    "unknown input column": ({"input": "txet"}, ("txet", "text")),
    "unknown id column": (
        {"id": "key"},
        ("train.jsonl, row 1", "column 'key' does not exist", "Known: answer, colour"),
    ),
    "path that leaves the folder": (
        {"source": "../../etc/passwd"},
        ("echo.yaml, line ", "leaves the task's folder", "absolute path"),
    ),
    "source without test rows": (
        {"source": {"path": "train.jsonl"}, "split": {"train": 1, "validation": 0, "test": 0}},
        ("echo.yaml", "the test split has no examples", "12 train, 0 validation, 0 test"),
    ),
    "shares that do not sum to 1": (
        {"split": {"train": 0.9, "validation": 0.9, "test": 0.1}},
        ("echo.yaml, line ", "must sum to 1"),
    ),
    "source without training rows": (
        {"source": {"path": "train.jsonl"}, "split": {"train": 0, "validation": 0, "test": 1}},
        ("echo.yaml", "no training example is left", "0 train, 0 validation, 12 test"),
    ),
}


@pytest.mark.parametrize("case", WRONG_TASKS)
def test_wrong_task(case: str, workshop: Workshop, job: Path, refused: Refused) -> None:
    changes, says = WRONG_TASKS[case]
    write_task(job, {**ECHO, **changes, "name": "echo"}, **changes) if "name" not in changes else (
        job / "echo.yaml"
    ).write_text((job / "echo.yaml").read_text().replace("name: echo", 'name: "Echo!"'))
    refused(*workshop.compare, "--task", job / "echo.yaml", "--arms", "full", says=says)


WRONG_CHOICES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "target outside the choices": (
        {"choices": ["red", "blue", "green", "black"]},
        ("train.jsonl, row 5", "'white'", "Known: black, blue, green, red"),
    ),
    "one choice": ({"choices": ["red"]}, ("colour.yaml, line ", "two answers or more")),
    "a choice twice": ({"choices": ["red", "blue", "red"]}, ("colour.yaml, line ", "given twice: red")),
    "chance of 2": ({"chance": 2}, ("colour.yaml, line ", "'chance'", "less than or equal to 1", "given: 2")),
}


@pytest.mark.parametrize("case", WRONG_CHOICES)
def test_wrong_choices(case: str, workshop: Workshop, job: Path, refused: Refused) -> None:
    changes, says = WRONG_CHOICES[case]
    task = write_task(job, COLOUR, **changes)
    refused(*workshop.compare, "--task", task, "--arms", "full", says=says)


WRONG_YAML: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "a key twice": (b"name: a\nversion: 1\nname: b\n", ("bad.yaml, line 3", "'name' was given on line 1 too")),
    "not YAML": (b"name: a\nsource: [\n", ("bad.yaml, line ", "not YAML")),
    "not UTF-8": (b"name: caf\xe9\n", ("bad.yaml", "not UTF-8", "Save it as UTF-8")),
    "a list": (b"- name\n", ("bad.yaml", "not a mapping", "key: value")),
    "nothing": (b"", ("bad.yaml", "not a mapping")),
    "a number as a key": (b"1: a\n", ("bad.yaml, line 1", "unknown key '1'")),
}


@pytest.mark.parametrize("case", WRONG_YAML)
@pytest.mark.parametrize("place", ["task", "configuration"])
def test_wrong_yaml(case: str, place: str, workshop: Workshop, tmp_path: Path, refused: Refused) -> None:
    content, says = WRONG_YAML[case]
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    flags = ("--task", file) if place == "task" else (file,)
    refused(*workshop.compare, *flags, says=says)


# A configuration file, and what the message must say.
WRONG_CONFIGURATIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "unknown key": (
        "model: mini\ntraining:\n  epochs: 1\n  learnig_rate: 1.0e-3\n",
        ("c.yaml, line 4", "unknown key 'training.learnig_rate'", "Did you mean 'learning_rate'?"),
    ),
    "values of the wrong type": (
        "seed: soon\ndata:\n  train: -3\n",
        ("c.yaml has 2 faults", "c.yaml, line 1", "'seed'", "'soon'", "c.yaml, line 3", "'data.train'", "given: -3"),
    ),
    "unknown key of an arm": (
        "arms:\n  - zero_shot\n  - {name: a, metod: lora}\n",
        ("c.yaml, line 3", "unknown key 'arms.1.metod'", "Did you mean 'method'?"),
    ),
    "two arms of one name": (
        "arms: [{name: a, shots: 1}, {name: a, shots: 2}]\n",
        ("arms", "two arms are called 'a'", "Rename one"),
    ),
    "unknown method": (
        "arms: [{name: a, method: lorra}]\n",
        ("arm 'a'", "unknown method 'lorra'", "Did you mean 'lora'?"),
    ),
    "unknown setting of a method": (
        "arms: [{name: a, method: lora, settings: {rnk: 4}}]\n",
        ("arm 'a', settings", "unknown key 'rnk'", "Did you mean 'rank'?"),
    ),
    "bad value of a method's setting": (
        "arms: [{name: a, method: lora, settings: {rank: 0}}]\n",
        ("arm 'a', settings", "'rank'", "given: 0"),
    ),
    "unknown training key of an arm": (
        "arms: [{name: a, method: lora, training: {epoch: 4}}]\n",
        ("arm 'a', training", "unknown key 'epoch'", "Did you mean 'epochs'?"),
    ),
    "LoRA on layers that are not there": (
        "arms: [{name: a, method: lora, settings: {targets: [q_prj]}}]\n",
        ("arm 'a'", "the model has no linear layer 'q_prj'", "Did you mean 'q_proj'?"),
    ),
    "no arms": ("arms: []\n", ("arms", "no arm is given", "Name at least one")),
    "a run's name that is a path": ("name: ../elsewhere\n", ("c.yaml, line 1", "'name'", "'../elsewhere'")),
}


@pytest.mark.parametrize("case", WRONG_CONFIGURATIONS)
def test_wrong_configuration(case: str, workshop: Workshop, tmp_path: Path, refused: Refused) -> None:
    content, says = WRONG_CONFIGURATIONS[case]
    file = tmp_path / "c.yaml"
    file.write_text(content)
    flags = ("--model", workshop.model, "--task", workshop.job / "echo.yaml", "--runs", workshop.runs)
    refused("compare", file, *flags, "--retain", "none", "--retention-text", "none", *QUICK, says=says)


# Settings that another verb has, and the verbs that have them.
OTHER_VERBS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "arms": ("eval", "arms: [lora]\n", ("compare", "curve")),
    "training": ("eval", "seed: 1\ntraining:\n  epochs: 1\n", ("compare", "curve", "tune")),
    "search": ("tune", "search: {trials: 2}\n", ("compare",)),
    "shots": ("compare", "shots: 2\n", ("eval", "predict")),
    "data.train": ("eval", "data:\n  train: 3\n", ("compare", "curve", "tune", "check")),
    "data.test": ("tune", "data:\n  test: 3\n", ("compare", "curve", "eval", "check")),
    "evaluation.engine": ("compare", "evaluation: {engine: ctranslate2}\n", ("eval",)),
    "decoding": ("check", "decoding: {beams: 2}\n", ("compare", "curve", "tune", "merge", "eval", "predict", "sample")),
}


@pytest.mark.parametrize("key", OTHER_VERBS)
def test_a_setting_of_another_verb(key: str, tmp_path: Path, refused: Refused) -> None:
    verb, content, owners = OTHER_VERBS[key]
    file = tmp_path / "c.yaml"
    file.write_text(content)
    *most, last = [f"`luthier {owner}`" for owner in owners]
    named = f"{', '.join(most)} and {last}" if most else last
    line = next(number for number, text in enumerate(content.splitlines(), 1) if key.rpartition(".")[2] in text)
    says = (f"c.yaml, line {line}: '{key}' belongs to {named}; `luthier {verb}` does not use it", "Leave it out.")
    refused(verb, file, says=says)


def test_an_assignment_of_another_verb(workshop: Workshop, tmp_path: Path, refused: Refused) -> None:
    command = ("merge", workshop.adapter, "--out", tmp_path / "whole")
    says = (
        "'training' belongs to `luthier compare`, `luthier curve` and `luthier tune`; `luthier merge` does not use it",
    )
    refused(*command, "--set", "training.epochs=1", says=says)


# Flags that win over those of a right command, and what the message must say.
WRONG_FLAGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "missing task YAML": (("--task", "nowhere.yaml"), ("nowhere.yaml", "cannot read the file", "Check the path")),
    "unknown built-in task": (("--task", "dialog_summary"), ("'dialog_summary'", "Did you mean 'dialogue_summary'?")),
    "missing data file": (("--task", "rows.jsonl"), ("'rows.jsonl'", "Known:")),
    "missing configuration": (("nowhere.yaml",), ("nowhere.yaml", "cannot read the file", "Check the path")),
    "unknown arm": (("--arms", "zero_shot,lorra"), ("arms", "unknown arm 'lorra'", "Did you mean 'lora'?")),
    "one arm twice": (("--arms", "zero_shot,zero_shot"), ("arms", "two arms are called 'zero_shot'", "Rename one")),
    "two unknown arms": (("--arms", "lorra,ful"), ("the arms have faults", "'lorra'", "'ful'")),
    "--set without =": (("--set", "training.epochs"), ("--set: 'training.epochs' is not key=value", "Write --set")),
    "--set of an unknown key": (
        ("--set", "training.epoch=2"),
        ("unknown key 'training.epoch'", "Did you mean 'epochs'?"),
    ),
    "--set of a bad value": (("--set", "training.warmup=2"), ("'training.warmup'", "given: 2", "Share of the steps")),
    "--set that is not YAML": (("--set", "seed=["), ("--set", "the value of 'seed' is not YAML")),
    "--set below a value": (("--set", "seed=1", "--set", "seed.x=1"), ("--set", "'seed.x' lies below a key")),
    "no training rows": (("--train", "0"), ("'data.train'", "given: 0", "Training examples")),
    "unknown device": (("--device", "gpu9"), ("--device", "no device 'gpu9' here", "Use cpu")),
    "device that is not here": (("--device", "cuda:77"), ("--device", "no device 'cuda:77' here", "Use cpu")),
    "retained task missing": (("--retain", "colours"), ("'colours'", "Known:")),
    "retained YAML missing": (("--retain", "gone.yaml"), ("gone.yaml", "cannot read the file")),
    "plain text missing": (("--retention-text", "gone.txt"), ("gone.txt", "cannot read the file", "Check the path")),
    "former flag": (("--retain-text", "none"), ("'--retain-text' is called '--retention-text' now",)),
    "former key of --set": (
        ("--set", "training.reuse_mib=0"),
        ("'reuse_mib' is called 'frozen_cache_mib' now", "Write training.frozen_cache_mib."),
    ),
    "former name of an arm": (("--arms", "mixture"), ("'mixture' is called 'full_replay' now",)),
    "one seed twice": (("--seeds", "1,1"), ("'seeds'", "the seed 1 is given twice")),
    "seeds that are words": (("--seeds", "many"), ("'seeds'", "a whole number, or a list", "given: 'many'")),
    "a seed that no generator takes": (("--seed", "-1"), ("'seed'", "given: -1", "The seed of everything")),
    "one of the seeds that no generator takes": (("--seeds", "0,-1"), ("'seeds'", "a whole number, or a list")),
    "no workers": (("--workers", "0"), ("'workers'", "given: 0", "Processes that run")),
    "model folder missing": (("--model", "./no/such/model"), ("./no/such/model", "no model folder", ".gguf")),
    "three things at once": (
        ("--task", "nowhere.yaml", "--retain", "gone.yaml", "--model", "./none"),
        ("the command names what does not exist", "nowhere.yaml", "gone.yaml", "./none"),
    ),
}


@pytest.mark.parametrize("case", WRONG_FLAGS)
def test_wrong_flag(case: str, workshop: Workshop, refused: Refused) -> None:
    flags, says = WRONG_FLAGS[case]
    refused(*workshop.compare, *flags, says=says)


WRONG_TEXTS: dict[str, tuple[str, bytes, tuple[str, ...]]] = {
    "empty": ("t.txt", b"", ("t.txt", "the file is empty")),
    "blank": ("t.txt", b"\n \n", ("t.txt", "no text", "Give a file with documents")),
    "no text column": ("t.jsonl", b'{"txt": "a"}\n', ("t.jsonl, row 1", "no text in column 'text'", "Columns: txt")),
    "texts of no length": ("t.jsonl", b'{"text": ""}\n', ("t.jsonl", "no text")),
}


@pytest.mark.parametrize("case", WRONG_TEXTS)
def test_wrong_plain_text(case: str, workshop: Workshop, tmp_path: Path, refused: Refused) -> None:
    name, content, says = WRONG_TEXTS[case]
    (tmp_path / name).write_bytes(content)
    refused(*workshop.compare, "--retention-text", tmp_path / name, says=says)


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    _no_weights(folder)


def _damaged(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _no_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def _broken_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": ')


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _missing_tensor(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.norm.weight"]
    save_file(tensors, path, {"format": "pt"})


WRONG_MODELS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "no weights": (_no_weights, ("no *.safetensors in the model folder", "Give a folder with weights")),
    "pickled weights only": (_pickled, ("pytorch_model.bin", "can run code", "save_pretrained()")),
    "damaged weights": (_damaged, ("the weights cannot be loaded", "Fetch the model again")),
    "a missing tensor": (_missing_tensor, ("'model.norm.weight' is missing", "Fetch the model again")),
    "no tokenizer": (_no_tokenizer, ("tokenizer", "tokenizer.json")),
    "config.json broken": (_broken_config, ("config.json", "Correct config.json")),
    "no config.json": (_no_config, ("no config.json", "Give the folder of a whole model")),
}


@pytest.mark.parametrize("case", WRONG_MODELS)
def test_wrong_model(case: str, workshop: Workshop, model: Path, refused: Refused) -> None:
    spoil, says = WRONG_MODELS[case]
    spoil(model)
    refused(*workshop.compare, "--model", model, says=(str(model), *says))


def test_hub_id_without_network(workshop: Workshop, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    says = ("no model 'nobody/nothing' here", "the hub did not give it", "give a folder, or `mini`")
    refused(*workshop.compare, "--model", "nobody/nothing", says=says)


def test_model_that_is_a_file(workshop: Workshop, refused: Refused) -> None:
    file = workshop.job / "echo.yaml"
    refused(*workshop.compare, "--model", file, says=(f"no model folder '{file}'", "Give a folder"))


def test_learning_rate_that_blows_up(workshop: Workshop, refused: Refused) -> None:
    flags = ("--set", "training.learning_rate=1e30", "--set", "training.steps=4")
    tune = ("tune", "-m", workshop.model, "-t", workshop.job / "echo.yaml", "--runs", workshop.runs, *QUICK_TRAINING)
    ran = refused(
        *tune, "--arm", "full", *flags, says=("step ", "is not finite", "this batch: train-", "learning_rate")
    )
    assert ran.err.count("train-") == 4, "the four examples of the batch are named"
    # A comparison goes on with its other arms; where none is left, there is nothing to go on with.
    refused(*workshop.compare, "--arms", "full", *flags, says=("arm 'full', step ", "is not finite", "learning_rate"))
    both = ("the training of every arm has failed", "arm 'full', step ", "arm 'lora', step ")
    refused(*workshop.compare, "--arms", "full,lora", *flags, says=both)


def test_test_examples_that_do_not_fit(workshop: Workshop, job: Path, refused: Refused) -> None:
    write_rows(job / "test.jsonl", [{"id": "a", "text": "short", "answer": "cat"}])
    task = write_task(job, ECHO, max_new_tokens=500)
    refused(*workshop.compare, "--task", task, says=("echo", "no test example can be answered", "Use a model"))


# ---- places that cannot be written


def test_out_is_a_file(workshop: Workshop, tmp_path: Path, refused: Refused) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    refused(*workshop.compare, "--runs", file, says=(str(file), "cannot write", "--runs"))
    assert file.read_text() == "mine"


def test_out_below_a_file(workshop: Workshop, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "file").write_text("mine")
    refused(*workshop.compare, "--runs", tmp_path / "file" / "runs", says=("cannot write: Not a directory", "--runs"))


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc: a folder that nobody can write to")
def test_out_that_nobody_can_write(workshop: Workshop, refused: Refused) -> None:
    refused(*workshop.compare, "--runs", "/proc/luthier", says=("/proc/luthier", "cannot write", "--runs"))


def small_disk(folder: Path, mount: str, script: str) -> None:
    """Run a shell script with a file system of its own mounted on a folder, seen by nobody else."""
    folder.mkdir()
    mounted = f"mount -t tmpfs {mount} tmpfs {folder}"
    may = subprocess.run(["unshare", "-rm", "sh", "-c", mounted], capture_output=True, check=False)
    if may.returncode:
        pytest.skip("this system does not let tests mount a file system")
    subprocess.run(["unshare", "-rm", "sh", "-c", f"{mounted} && {script}"], check=True, timeout=600)


def shell(arguments: Sequence[object]) -> str:
    """The command line for a shell."""
    return shlex.join([sys.executable, "-c", "from luthier.cli import main; main()", *map(str, arguments)])


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare(1)")
def test_out_is_read_only(workshop: Workshop, tmp_path: Path) -> None:
    command = shell((*workshop.compare, "--runs", tmp_path / "disk"))
    small_disk(tmp_path / "disk", "-o ro", f"({command} 2> {tmp_path}/err; echo $? > {tmp_path}/code)")
    err = (tmp_path / "err").read_text()
    assert (tmp_path / "code").read_text() == "2\n", err
    assert "Traceback" not in err
    assert "cannot write: Read-only file system" in err
    assert f"{tmp_path}/disk" in err
    assert "choose another place (--runs, --save, --out)" in err


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare(1)")
@pytest.mark.parametrize("kilobytes", [24, 64, 150, 300])
def test_the_disk_is_full(kilobytes: int, workshop: Workshop, tmp_path: Path) -> None:
    """Whatever was being written, nothing finished is lost, and with more room the same command goes on."""
    disk = tmp_path / "disk"
    command = (*workshop.compare, "--arms", "zero_shot,full", "--name", "full", "--runs")
    small_disk(
        disk,
        f"-o size={kilobytes}k",
        f"({shell((*command, disk))} 2> {tmp_path}/err; echo $? > {tmp_path}/code;"
        f" cp -r {disk} {tmp_path}/half; mount -o remount,size=64m {disk};"
        f" {shell((*command, disk))} 2> {tmp_path}/err2; echo $? > {tmp_path}/code2; cp -r {disk} {tmp_path}/whole)",
    )
    err = (tmp_path / "err").read_text()
    assert (tmp_path / "code").read_text() == "2\n", err
    assert "Traceback" not in err
    assert "cannot write: " in err
    assert str(disk) in err
    assert "Free space" in err
    half, whole = digests(tmp_path / "half"), digests(tmp_path / "whole")
    kept = {name: digest for name, digest in half.items() if ".work/" not in name and name.startswith("store/")}
    assert {name: whole.get(name) for name in kept} == kept, "what was finished is as it was"
    assert (tmp_path / "code2").read_text() == "0\n", (tmp_path / "err2").read_text()
    assert luthier(*command, tmp_path / "elsewhere").code == 0
    results = tmp_path / "elsewhere" / "full" / "results.json"
    assert (tmp_path / "whole" / "full" / "results.json").read_bytes() == results.read_bytes()


def test_a_file_may_not_grow(workshop: Workshop, tmp_path: Path) -> None:
    """A quota, as the operating system sets it: the first file of more than 60 kB is refused."""
    command = (*workshop.compare, "--arms", "zero_shot,full", "--runs", tmp_path / "runs")
    ran = subprocess.run(
        [sys.executable, "-c", "from luthier.cli import main; main()", *map(str, command)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)),
    )
    assert ran.returncode == 2, ran.stderr
    assert "Traceback" not in ran.stderr
    assert f"{tmp_path}/runs/store/models/" in ran.stderr
    assert "cannot write: " in ran.stderr
    assert "File too large" in ran.stderr
    assert len(list((tmp_path / "runs").glob("store/predictions/*/entry.json"))) == 1, "zero_shot is finished"


def test_save_exists(workshop: Workshop, refused: Refused) -> None:
    before = sorted(workshop.adapter.iterdir())
    command = ("tune", "-m", workshop.model, "-t", workshop.job / "echo.yaml", "--runs", workshop.runs, *QUICK_TRAINING)
    refused(*command, "--save", workshop.adapter, says=(str(workshop.adapter), "something is there already", "--save"))
    assert sorted(workshop.adapter.iterdir()) == before


def test_save_below_a_file(workshop: Workshop, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "file").write_text("mine")
    command = ("tune", "-m", workshop.model, "-t", workshop.job / "echo.yaml", "--runs", workshop.runs, *QUICK_TRAINING)
    refused(*command, "--save", tmp_path / "file" / "adapter", says=(str(tmp_path / "file"), "cannot write"))


# ---- tune and eval


@pytest.mark.parametrize(
    ("arm", "says"),
    [("zero_shot", ("tune trains exactly one arm", "--arm lora")), ("lorra", ("unknown arm 'lorra'", "lora"))],
)
def test_arm_that_trains_nothing(arm: str, says: tuple[str, ...], workshop: Workshop, refused: Refused) -> None:
    command = ("tune", "-m", workshop.model, "-t", workshop.job / "echo.yaml", "--runs", workshop.runs, *QUICK_TRAINING)
    refused(*command, "--arm", arm, says=says)


def _remove_tensor(adapter: Path) -> None:
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    del tensors[sorted(tensors)[0]]
    save_file(tensors, path)


def _change_weight(adapter: Path) -> None:
    path = adapter / "adapter_model.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(path).items()}, path)


def _no_card(adapter: Path) -> None:
    (adapter / "luthier.json").unlink()


def _broken_card(adapter: Path) -> None:
    (adapter / "luthier.json").write_text("{")


def _half_weights(adapter: Path) -> None:
    path = adapter / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:200])


WRONG_ADAPTERS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "not an adapter": (_no_card, ("not an adapter made by Luthier", "Give the folder that `tune` wrote")),
    "damaged card": (_broken_card, ("luthier.json", "damaged", "Train it again")),
    "a missing tensor": (_remove_tensor, ("tensor '", "lora_A.weight' (8, 48) is missing", "train it again")),
    "half a file": (_half_weights, ("adapter_model.safetensors: damaged", "train it again")),
    "other numbers": (_change_weight, ("gives other logits than when it was stored", "train it again")),
    "no folder": (shutil.rmtree, ("there is no such folder", "Give the folder that `tune` wrote")),
}


@pytest.mark.parametrize("case", WRONG_ADAPTERS)
def test_wrong_adapter(case: str, workshop: Workshop, tmp_path: Path, refused: Refused) -> None:
    spoil, says = WRONG_ADAPTERS[case]
    adapter = Path(shutil.copytree(workshop.adapter, tmp_path / "adapter"))
    spoil(adapter)
    command = (
        "eval",
        "-m",
        workshop.model,
        "-t",
        workshop.job / "echo.yaml",
        "--runs",
        workshop.runs,
        *QUICK_EVAL,
    )
    refused(*command, "--adapter", adapter, says=(str(adapter), *says))


def test_two_tasks_of_one_name(workshop: Workshop, tmp_path: Path, refused: Refused) -> None:
    tasks = f"{workshop.job / 'echo.yaml'},{write_task(tmp_path, ECHO)}"
    command = ("eval", "-m", workshop.model, "-t", tasks, "--runs", workshop.runs, *QUICK_EVAL)
    refused(*command, says=("2 tasks are called 'echo'", "rename it in its YAML"))


def test_adapter_of_another_base(workshop: Workshop, refused: Refused) -> None:
    command = (
        "eval",
        "-m",
        tiny_folder("qwen3"),
        "-t",
        workshop.job / "echo.yaml",
        "--runs",
        workshop.runs,
        *QUICK_EVAL,
    )
    says = ("the adapter was trained on", "not on", "Load the base that it belongs to")
    refused(*command, "--adapter", workshop.adapter, says=says)


# ---- the store and the report


def test_report_on_an_unfinished_run(workshop: Workshop, tmp_path: Path, refused: Refused) -> None:
    refused("report", tmp_path, says=("results.json", "no finished results here", "Run `luthier compare` first"))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"arms": 3}', "null"])
def test_damaged_results(content: str, workshop: Workshop, tmp_path: Path, refused: Refused) -> None:
    run = Path(shutil.copytree(workshop.runs / "done", tmp_path / "run"))
    (run / "results.json").write_text(content)
    refused("report", run, says=("results.json", "damaged", "Run the same command again"))


@pytest.mark.parametrize("name", ["result.json", "costs.json", "predictions.jsonl"])
def test_damaged_store(name: str, workshop: Workshop, tmp_path: Path, refused: Refused) -> None:
    runs = Path(shutil.copytree(workshop.runs, tmp_path / "runs"))
    kind = "models" if name == "result.json" else "predictions"
    # Of what the finished run itself made: other tests have added more.
    own = (path for path in workshop.finished if path.startswith(f"store/{kind}") and path.endswith(name))
    spoiled = runs / next(own)
    spoiled.write_text("{")
    ran = refused(
        *workshop.compare, "--arms", "zero_shot,lora", "--runs", runs, says=(str(spoiled.parent), "Remove this folder")
    )
    shutil.rmtree(spoiled.parent)
    assert ran.code == 2
    assert luthier(*workshop.compare, "--arms", "zero_shot,lora", "--runs", runs).code == 0, "the advice helps"


# ---- tasks and check


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--split", "tset"), ("echo.yaml", "no tset split", "Did you mean 'test'?")),
        (("--template", "plian"), ("echo.yaml", "no template is called 'plian'", "Did you mean 'plain'?")),
    ],
)
def test_wrong_preview(flags: tuple[str, ...], says: tuple[str, ...], workshop: Workshop, refused: Refused) -> None:
    refused("tasks", "preview", workshop.job / "echo.yaml", *flags, says=says)


def test_wrong_split_of_an_undivided_source(workshop: Workshop, job: Path, refused: Refused) -> None:
    task = write_task(job, ECHO, source="train.jsonl")
    refused("tasks", "preview", task, "--split", "tset", says=("tset", "Did you mean 'test'?"))


def test_show_unknown_task(refused: Refused) -> None:
    refused("tasks", "show", "toppic", says=("'toppic'", "Did you mean 'topic'?"))


def test_data_file_of_unknown_columns(workshop: Workshop, tmp_path: Path, refused: Refused) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [{"x": "1", "y": "2"}])
    refused(*workshop.compare, "--task", file, says=(str(file), "x, y"))


def test_check_of_rows_that_are_all_too_long(workshop: Workshop, job: Path, refused: Refused) -> None:
    write_rows(job / "train.jsonl", changed(range(12), answer=LONG))
    command = ("check", "--model", workshop.model, "--task", job / "echo.yaml")
    refused(*command, says=("12 of 12 train examples do not fit 128 tokens", "echo.yaml", "shorten the rows"))


# ---- usage


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("compare", "--modle", "mini"), ("No such option '--modle'", "--model")),
        (
            ("eval", "--arms", "lora"),
            ("'--arms' belongs to `luthier compare` and `luthier curve`; `luthier eval` does not use it",),
        ),
        (("check", "--runs", "x"), ("'--runs' belongs to `luthier compare`, ", "`luthier check` does not use it")),
        (("compaer",), ("No such command 'compaer'",)),
        (("report",), ("Missing argument",)),
        (("score",), ("Missing option", "--predictions")),
        (("compare", "--train", "many"), ("Invalid value for '--train'", "valid integer")),
        (("eval", "--shots", "-1"), ("'shots'", "greater than or equal to 0", "given: -1")),
        (("tasks", "preview", "topic", "--rows", "0"), ("'rows'", "greater than or equal to 1", "given: 0")),
    ],
)
def test_usage(arguments: tuple[str, ...], says: tuple[str, ...]) -> None:
    ran = luthier(*arguments)
    assert ran.code == 2
    assert "Traceback" not in ran.err
    for words in says:
        assert words in ran.err, ran.err
