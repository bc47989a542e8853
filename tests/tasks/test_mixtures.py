"""Mixtures of tasks and texts: what their file may say, which examples they have, and how these are worded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from luthier.config.data import DataConfig
from luthier.errors import LuthierError
from luthier.models.load import load_reader
from luthier.records import Encoded
from luthier.tasks.check_mixture import run_check_mixture
from luthier.tasks.mixture import Mixture
from luthier.tasks.mixture_spec import is_mixture, read_mixture
from small_job import COLOUR, ECHO, luthier, rows, write_job, write_rows, write_task
from tiny_models import tiny_folder

READER = load_reader(str(tiny_folder("llama")))


def write_mixture(folder: Path, **keys: Any) -> Path:
    path = folder / "mix.yaml"
    path.write_text(yaml.safe_dump({"tasks": ["echo.yaml", "colour.yaml"], **keys}, sort_keys=False))
    return path


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """Echo has 12 training rows, colour the same ones."""
    return write_job(tmp_path / "job")


def other_colours(job: Path, train: int = 40) -> None:
    """Give the colour task rows of its own."""
    made = [{**row, "id": f"other-{row['id']}", "text": f"other {row['text']}"} for row in rows("train", train)]
    write_rows(job / "colours.jsonl", made)
    write_task(job, COLOUR, source={**COLOUR["source"], "train": "colours.jsonl"})


def made(path: Path, **data: Any) -> Mixture:
    return run_check_mixture(
        str(path),
        READER.tokenizer,
        encoder_decoder=READER.encoder_decoder,
        max_length=READER.max_length,
        model_tokens=READER.tokens,
        data=DataConfig(**data),
        seed=0,
    )


def text(record: Encoded) -> str:
    return str(READER.tokenizer.decode(record.prompt_ids))


def test_shares_are_quotas_of_an_epoch(job: Path) -> None:
    other_colours(job)
    mixture = made(write_mixture(job))
    assert mixture.sizes == (12, 40)
    assert mixture.quotas == (12, 40), "in proportion, an epoch is one pass over all"
    assert made(write_mixture(job, cap=12)).quotas == (12, 12)
    assert made(write_mixture(job, rate="equal", size=20)).quotas == (10, 10)
    weighted = [{"task": "echo.yaml", "weight": 3}, {"task": "colour.yaml", "weight": 1}]
    assert made(write_mixture(job, rate="weights", tasks=weighted, size=40)).quotas == (30, 10)
    twice = made(write_mixture(job, rate="weights", tasks=weighted, size=40, repeat=2))
    assert twice.quotas == (24, 16), "echo gives twice its 12 examples, and colour what is lacking"
    assert [round(share.passes, 2) for share in twice.shares] == [2.0, 0.4]
    assert made(write_mixture(job), train=26).quotas == (6, 20), "data.train limits an epoch"


def test_shares_of_supervised_tokens(job: Path) -> None:
    other_colours(job)
    mixture = made(write_mixture(job, rate="equal", unit="tokens", size=40))
    assert [round(share.token_share, 1) for share in mixture.shares] == [0.5, 0.5]
    lengths = [share.tokens for share in mixture.shares]
    assert mixture.quotas[0] * lengths[0] == pytest.approx(mixture.quotas[1] * lengths[1], rel=0.1)


def test_a_record_is_worded_in_turns(job: Path) -> None:
    spec = {**ECHO, "templates": [{"name": "a", "prompt": "the {{ text }}"}, {"name": "b", "prompt": "my {{ text }}"}]}
    write_task(job, spec)
    mixture = made(write_mixture(job, tasks=["echo.yaml"]))
    first, second, third = (text(mixture.record(3, visit)) for visit in range(3))
    assert sorted("my" in worded for worded in (first, second)) == [False, True]
    assert first == third != second
    one = made(write_mixture(job, tasks=[{"task": "echo.yaml", "templates": ["b"]}]))
    assert text(one.record(3, 0)) == text(one.record(3, 1))


def test_exemplars_and_choices(job: Path) -> None:
    other_colours(job)
    tasks = [{"task": "echo.yaml", "shots": [0, 2]}, {"task": "colour.yaml", "choices": "both"}]
    mixture = made(write_mixture(job, tasks=tasks))
    counts = {visit: text(mixture.record(0, visit)).count("animal:") for visit in range(4)}
    assert sorted(counts.values()) == [1, 1, 3, 3], "none and two in turns"
    listed = ["hoices:" in text(mixture.record(12, visit)) for visit in range(4)]
    assert sorted(listed) == [False, False, True, True]
    assert listed[0] != listed[1]
    assert mixture.record(12, 0).origin == "colour"
    assert mixture.record(0, 0).origin == "", "the target"


def test_plain_text_is_read_a_window_at_a_time(job: Path) -> None:
    (job / "plain.txt").write_text(f"{'word ' * 300}\n\nshort text here\n")
    mixture = made(write_mixture(job, tasks=["echo.yaml", {"text": "plain.txt", "weight": 0.5}]), max_length=None)
    assert mixture.sizes == (12, 2)
    windows = {mixture.record(12, visit).id for visit in range(8)}
    assert len(windows) > 1
    assert all(len(mixture.record(12, visit).target_ids) < READER.max_length for visit in range(8))
    assert mixture.shares[1].rate == pytest.approx(1 / 13)


def test_what_another_task_is_measured_on_is_left_out(job: Path) -> None:
    """Colour is trained on the rows of which echo's test split has six."""
    write_rows(job / "all.jsonl", [*rows("train", 12), *rows("test", 6)])
    write_rows(job / "few.jsonl", [{**row, "text": f"few {row['text']}"} for row in rows("few", 3)])
    write_rows(job / "more.jsonl", [{**row, "text": f"more {row['text']}"} for row in rows("more", 3)])
    write_task(job, COLOUR, source={"train": "all.jsonl", "validation": "few.jsonl", "test": "more.jsonl"})
    mixture = made(write_mixture(job))
    assert [share.overlapping for share in mixture.shares] == [0, 6]
    assert mixture.sizes == (12, 12)


def test_an_example_that_does_not_fit_gives_its_place_to_the_next(job: Path) -> None:
    # A long target cannot be cut.
    made_rows = rows("train", 12)
    made_rows[3]["answer"] = "cat " * 400
    write_rows(job / "train.jsonl", made_rows)
    other_colours(job)
    mixture = made(write_mixture(job, target="echo.yaml"))
    assert mixture.shares[0].dropped == pytest.approx(1 / 12)
    assert mixture.record(3, 0).id == mixture.record(4, 0).id


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"tasks": ["echo.yaml", "nothing"]}, "no built-in task, file or folder is called 'nothing'"),
        ({"tasks": []}, "a mixture has at least one task"),
        ({"tasks": ["echo.yaml", "echo.yaml"]}, "'echo.yaml' stands twice among the tasks"),
        ({"tasks": [{"task": "echo.yaml", "weight": 0}]}, "weight"),
        ({"tasks": [{"task": "echo.yaml", "weight": float("nan")}]}, "weight"),
        ({"cap": 0}, "cap"),
        ({"temperature": 0}, "temperature"),
        ({"repeat": 0}, "repeat"),
        ({"rate": "weights"}, "with `rate: weights` each source has a `weight`, and 'echo.yaml' has none"),
        (
            {"rate": "equal", "tasks": [{"task": "echo.yaml", "weight": 2}]},
            "with `rate: equal` no source has a `weight`",
        ),
        ({"tasks": [{"text": "text.txt"}]}, "a mixture of plain text alone has no target"),
        ({"tasks": [{"task": "echo.yaml", "text": "text.txt"}]}, "a source is one `task` or one `text`"),
        ({"tasks": ["echo.yaml", {"text": "text.txt", "shots": 1}]}, "plain text has no shots"),
        ({"tasks": [{"task": "echo.yaml", "shots": -1}]}, "whole numbers of at least 0"),
        ({"tasks": [{"task": "echo.yaml", "templates": ["c"]}]}, "the task 'echo' has no template 'c'"),
        ({"tasks": [{"task": "echo.yaml", "choices": "shown"}]}, "the task 'echo' has no choices that could be shown"),
        ({"rates": "equal"}, "unknown key 'rates'"),
    ],
)
def test_what_is_wrong_with_a_mixture_is_said(job: Path, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(LuthierError) as caught:
        made(write_mixture(job, **keys))
    assert message in str(caught.value)
    assert caught.value.fix or caught.value.where


def test_a_source_of_which_nothing_fits_is_an_error(job: Path) -> None:
    write_rows(job / "long.jsonl", [{**row, "colour": "red"} for row in rows("train", 3)])
    write_task(job, {**ECHO, "name": "long", "target": "{{ answer * 400 }}"}, source={"train": "long.jsonl"})
    with pytest.raises(LuthierError, match="none of its training examples fits the model"):
        made(write_mixture(job, tasks=["echo.yaml", "long.yaml"]))


def test_a_mixture_is_told_from_a_task_and_its_paths_are_from_its_folder(job: Path) -> None:
    path = write_mixture(job, target="colour.yaml")
    assert is_mixture(str(path))
    assert not is_mixture(str(job / "echo.yaml"))
    assert not is_mixture("topic")
    spec = read_mixture(str(path))
    assert (spec.name, spec.target_name) == ("mix", str(job / "colour.yaml"))
    assert [source.name for source in spec.tasks] == [str(job / "echo.yaml"), str(job / "colour.yaml")]


def test_check_shows_the_shares(job: Path) -> None:
    other_colours(job)
    path = write_mixture(job, cap=12)
    ran = luthier("check", "--task", path, "--model", tiny_folder("llama"))
    assert ran.code == 0, ran.err
    assert "mix: 24 examples in an epoch" in ran.out
    assert "50.00" in ran.out
    wrong = luthier("check", "--task", write_mixture(job, cap=0), "--model", tiny_folder("llama"))
    assert wrong.code == 2
    assert "cap" in wrong.err
    config = luthier("compare", path)
    assert config.code == 2
    assert "this is a mixture, and a configuration is expected here" in config.err
