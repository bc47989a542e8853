"""What a task says of preamble, exemplars, extraction and normalisation, from its YAML to the score and its key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from luthier.config.data import EncodingConfig
from luthier.config.decoding import DecodingConfig
from luthier.config.evaluate import EvaluateConfig
from luthier.data.encoding import Encoder
from luthier.evaluation import jobs
from luthier.evaluation import requests as answering
from luthier.evaluation.prepared_task import PreparedTask, signature_context
from luthier.experiments.evaluate import evaluate
from luthier.experiments.evaluated import Evaluated
from luthier.records import Example, Prediction
from luthier.results.records import read_results
from luthier.tasks.loader import load_task
from luthier.training.training_task import training_task
from small_job import COLOUR, ECHO, QUICK, luthier, write_job, write_task
from tiny import CHATML, byte_tokenizer
from tiny_models import make_tokenizer, tiny_folder

FIXED = {"rows": [{"id": "a", "text": "a blue hen sat", "answer": "hen", "colour": "blue"}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_job(tmp_path / "job", test=6)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts of the prompts that the model was asked, as it read them."""
    texts: list[str] = []
    real = answering.answer_batch

    def reading(model: Any, encoder: Any, requests: Any, generation: Any, **others: Any) -> list[Prediction]:
        texts.extend(encoder.tokenizer.decode(request.items[0].prompt_ids) for request in requests)
        return real(model, encoder, requests, generation, **others)

    monkeypatch.setattr(jobs, "answer_batch", reading)
    return texts


def run(folder: Path, spec: dict[str, Any], shots: int = 0, **changes: Any) -> Evaluated:
    settings: dict[str, Any] = {
        "model": str(tiny_folder("llama")),
        "runs": folder / "runs",
        "device": "cpu",
        "shots": shots,
        "evaluation": {"resamples": 100},
        "tasks": [str(write_task(folder, spec, **changes))],
    }
    (found,) = evaluate(EvaluateConfig.model_validate(settings))
    return found


def logs(folder: Path) -> int:
    return len(list((folder / "runs" / "store" / "predictions").iterdir()))


def test_the_preamble_is_read_first_and_gives_another_key(folder: Path, asked: list[str]) -> None:
    bare = run(folder, COLOUR, shots=1)
    without, asked[:] = list(asked), []
    said = run(folder, COLOUR, shots=1, preamble="a cat:\n\n")
    assert logs(folder) == 2
    assert len(asked) == 6
    assert sorted(text.replace("a cat:\n\n", "", 1) for text in asked) == sorted(without)
    assert bare.scores[0].signature != said.scores[0].signature
    assert [one.choice_logprobs for one in bare.log.predictions] != [
        one.choice_logprobs for one in said.log.predictions
    ]
    run(folder, COLOUR, shots=1, preamble="a dog:\n\n")
    assert logs(folder) == 3


@pytest.mark.parametrize(
    ("few_shot", "signature", "first"),
    [
        ({"order": "first"}, "exemplars:first-train", "train 0: a red cat sat"),
        ({"order": "first", "split": "validation"}, "exemplars:first-validation", "validation 0: a red cat sat"),
        (FIXED, "exemplars:fixed", "a blue hen sat"),
    ],
)
def test_exemplars_come_from_where_the_file_says(
    folder: Path, asked: list[str], few_shot: dict[str, Any], signature: str, first: str
) -> None:
    default = run(folder, COLOUR, shots=1)
    asked.clear()
    found = run(folder, COLOUR, shots=1, few_shot=few_shot)
    assert logs(folder) == 2
    assert found.shots_used == (1, 1)
    assert all(text.split("colour:")[0].strip().endswith(first) for text in asked)
    assert signature in found.scores[0].signature.split("|")
    assert "exemplars:" not in default.scores[0].signature
    zero = run(folder, COLOUR, few_shot=few_shot)
    assert "exemplars:" not in zero.scores[0].signature, "none are shown"


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the model say "I think <answer>, or not" to even examples, and nothing of use to odd ones."""
    real = answering.answer_batch

    def scripted(model: Any, encoder: Any, requests: Any, generation: Any, **others: Any) -> list[Prediction]:
        return [
            replace(own, text=f"I think <{own.targets[0]}>, or <x>" if int(own.id[-1]) % 2 == 0 else "no idea")
            for own in real(model, encoder, requests, generation, **others)
        ]

    monkeypatch.setattr(jobs, "answer_batch", scripted)


@pytest.mark.usefixtures("says")
def test_the_answer_is_taken_out_of_the_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = run(folder, ECHO)
    assert {score.metric: score.value for score in whole.scores}["exact_match"] == 0
    first = run(folder, ECHO, extract={"find": "<(.*?)>"})
    assert "no answer was found in 3 of 6 generated texts" in capsys.readouterr().err
    scores = {score.metric: score for score in first.scores}
    assert scores["exact_match"].value == 0.5
    assert scores["exact_match"].detail["unparsed"] == 0.5
    assert [own.text for own in first.log.predictions] == ["cat", "", "hen", "", "fox", ""]
    assert all(own.generated for own in first.log.predictions)
    last = run(folder, ECHO, extract={"find": "<(.*?)>", "which": "last"})
    assert {score.metric: score.value for score in last.scores}["exact_match"] == 0
    signatures = [found.scores[0].signature for found in (whole, first, last)]
    assert [sum(part.startswith("extract:") for part in signature.split("|")) for signature in signatures] == [0, 1, 1]
    assert len(set(signatures)) == 3
    assert logs(folder) == 1, "extraction changes scores, not what the model answers"


@pytest.mark.usefixtures("says")
def test_a_comparison_scores_extracted_answers_and_says_what_was_not_found(folder: Path) -> None:
    task = write_task(folder, ECHO, extract={"find": "<(.*?)>"}, few_shot=FIXED, preamble="a cat:\n")
    ran = luthier(
        *("compare", "--model", tiny_folder("llama"), "--task", task, "--arms", "zero_shot,few_shot"),
        *("--retain", "none", "--set", "retention_text=null", "--runs", folder / "runs", "--name", "done", *QUICK),
    )
    assert ran.code == 0, ran.err
    zero, few = read_results(folder / "runs" / "done").arms
    for arm in (zero, few):
        assert {score.metric: score.value for score in arm.scores}["exact_match"] == 0.5
        assert any("no answer was found in 3 of 6 generated texts (wrong)" in note for note in arm.notes)
    assert few.shots == 1
    assert "exemplars:fixed" in few.scores[0].signature
    scored = luthier(
        "score", "-p", folder / "runs" / "done" / "predictions" / "zero_shot.jsonl", "--metric", "exact_match"
    )
    assert "0.5" in scored.out


def test_extraction_is_in_the_key_of_a_training(folder: Path) -> None:
    """The best weights are chosen by the score of extracted answers."""
    found = []
    for changes in ({}, {"extract": {"find": "(a)"}}, {"extract": {"find": "(b)"}}):
        task = load_task(str(write_task(folder, ECHO, **changes)))
        encoder = Encoder(make_tokenizer(), encoder_decoder=False, max_length=100)
        found.append(
            training_task(task, encoder, DecodingConfig(), batch_tokens=100, encoding=EncodingConfig()).key_inputs()
        )
    assert len({str(inputs) for inputs in found}) == 3


def test_choices_are_normalised_where_the_choice_is_taken(folder: Path) -> None:
    metrics = ["accuracy", "accuracy:by=characters", "accuracy:by=bytes", "accuracy:by=tokens"]
    found = run(folder, COLOUR, metrics=metrics, primary="accuracy_by_characters")
    by = {score.metric: score for score in found.scores}
    assert found.scores[0].metric == "accuracy_by_characters"
    assert by["accuracy_by_characters"].value == by["accuracy_by_bytes"].value, "ASCII"
    expected = [
        max(own.choices, key=lambda choice: own.choice_logprobs[own.choices.index(choice)] / len(choice))
        == own.targets[0]
        for own in found.log.predictions
    ]
    assert by["accuracy_by_characters"].value == pytest.approx(sum(expected) / len(expected))
    assert "|by:characters|" in by["accuracy_by_characters"].signature
    run(folder, COLOUR)
    assert logs(folder) == 1, "normalisation changes scores, not what the model answers"


def test_the_signature_of_choices_says_which_tokens_are_counted(folder: Path) -> None:
    """A begin token stands before the prompt and the end token is counted, neither of which is lm-eval's convention."""
    assert "|choices:begin-token+end-token|" in run(folder, COLOUR).scores[0].signature
    task = load_task(str(write_task(folder, COLOUR)))
    chatting = Encoder(byte_tokenizer(chat=CHATML), encoder_decoder=False, max_length=64, chat="always")
    example = Example("a", "colour", "plain", "?", ("red",), ("red", "blue"))
    context = signature_context(PreparedTask(task, chatting, (example,)), 0)
    assert context["choices"] == "chat-template+end-token"
    answering = Encoder(make_tokenizer(), encoder_decoder=True, max_length=64)
    assert signature_context(PreparedTask(task, answering, (example,)), 0)["choices"] == "end-token"
    assert "choices:" not in run(folder, ECHO).scores[0].signature
