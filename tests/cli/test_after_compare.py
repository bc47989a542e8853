"""What `compare` prints last can be typed: the trained arm is found in the store, merged, and answers new rows."""

from __future__ import annotations

import csv
import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from luthier.config.evaluate import EvaluateConfig
from luthier.experiments.evaluate import evaluate
from luthier.metrics.prediction_log import read_predictions
from luthier.results.next_commands import next_commands
from luthier.results.records import read_results, write_json
from small_job import Workshop, luthier, rows, write_rows


def test_the_commands_after_a_comparison_use_what_it_trained(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("--seed", 1, "--seeds", "4,5", "--set", "data.max_length=200", "--set", "decoding.max_new_tokens=3")
    ran = luthier(
        *workshop.compare, "--arms", "zero_shot,lora", "--name", "next", "--runs", tmp_path / "out", *settings
    )
    assert ran.code == 0, ran.err
    run = tmp_path / "out" / "next"
    results = read_results(run)
    write_json(
        run / "results.json", replace(results, recommendation=replace(results.recommendation, arm="lora", decided=True))
    )
    shown = luthier("report", run).out
    monkeypatch.chdir(tmp_path)
    keep, merge, use = next_commands(read_results(run), run)
    for command in (keep, merge, use):
        assert f"  {command.line}\n" in shown
    kept = luthier(*shlex.split(keep.line)[1:])
    assert kept.code == 0, kept.err
    assert "trained before, found in the store" in kept.err
    merged = luthier(*shlex.split(merge.line)[1:])
    assert merged.code == 0, merged.err
    assert (tmp_path / "lora-model" / "model.safetensors").is_file()
    new = [{"id": row["id"], "text": row["text"]} for row in rows("test", 3)]
    (tmp_path / "new.csv").write_text("id,text\n" + "".join(f"{row['id']},{row['text']}\n" for row in new))
    used = luthier(*shlex.split(use.line)[1:])
    assert used.code == 0, used.err
    with (tmp_path / "answers.csv").open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    log = run / next(arm.predictions for arm in results.arms if arm.name == "lora")
    assert [row["prediction"] for row in found] == [own.text for own in read_predictions(log)[:3]]


def test_a_recommendation_to_show_exemplars_can_be_followed(workshop: Workshop, tmp_path: Path) -> None:
    named = ("--model", workshop.model, "--task", workshop.job / "echo.yaml", "--device", "cpu", "--shots", 2)
    source = write_rows(tmp_path / "new.jsonl", [{"id": row["id"], "text": row["text"]} for row in rows("test", 4)])
    out = tmp_path / "answers.jsonl"
    ran = luthier("predict", source, *named, "--out", out, "--runs", f"{tmp_path / 'own'}")
    assert ran.code == 0, ran.err
    config = EvaluateConfig(
        model=str(workshop.model), tasks=(str(workshop.job / "echo.yaml"),), shots=2, runs=tmp_path / "e", device="cpu"
    )
    answers = [json.loads(line)["prediction"] for line in out.read_text(encoding="utf-8").splitlines()]
    assert answers == [own.text for own in evaluate(config)[0].log.predictions[:4]]
    bare = luthier("predict", source, "--adapter", workshop.adapter, "--shots", 2)
    assert bare.code == 2
    assert "exemplars are rows of a task" in bare.err
