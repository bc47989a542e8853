"""Benchmark suites: what there is, where rows come from, and what is said when they are missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from luthier.config.evaluate import EvaluateConfig
from luthier.errors import DataError, LuthierError, TaskError
from luthier.evaluation.adapter_task import task_of_adapter, write_task
from luthier.experiments.evaluate import evaluate
from luthier.tasks.loader import load_examples, load_task
from luthier.tasks.names import require_task
from luthier.tasks.suites import averages, library_suites, read_suite, suite_tasks
from luthier.tasks.task_sets import expand
from tiny_models import tiny_folder

MANY: dict[str, Any] = {
    "name": "sums_{{ sign }}",
    "each": {"sign": ["plus", "minus"]},
    "source": {"test": "data:{{ sign }}.jsonl", "get": "https://example.org/sums"},
    "preamble": "Sums with {{ sign }}.\n",
    "joint": " ",
    "target": "{{ answer }}",
    "choices": ["1", "2", "3"],
    "chance": 0.3333,
    "metrics": ["accuracy"],
    "templates": [{"name": "plain", "prompt": "{{ a }} {{ sign }} {{ b }} ="}],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A file of two tasks in a suite, and the original file of one of them."""
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "sums.yaml").write_text(yaml.safe_dump(MANY))
    (tmp_path / "suite" / "suite.yaml").write_text("description: Sums.\nfiles: [sums.yaml]\n")
    rows = [{"a": a, "b": b, "answer": a + b} for a, b in ((1, 1), (1, 2), (2, 1), (1, 0), (0, 2), (3, 0))]
    (tmp_path / "plus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def settings(folder: Path, *tasks: str, **more: Any) -> EvaluateConfig:
    data = {"folder": str(folder)} | more.pop("data", {})
    return EvaluateConfig.model_validate(
        {
            "model": str(tiny_folder("llama")),
            "runs": folder / "runs",
            "device": "cpu",
            "tasks": list(tasks),
            "data": data,
            "evaluation": {"resamples": 100},
        }
        | more
    )


def test_what_there_is() -> None:
    sizes = {name: len(suite.tasks) for name, suite in library_suites().items()}
    assert sizes["mmlu"] == 57
    assert (sizes["bbh"], len(averages()["bbh"].tasks), len(averages()["bbh_cot"].tasks)) == (54, 27, 27)
    stem = ("mmlu_stem", "mmlu_humanities", "mmlu_social_sciences", "mmlu_other")
    assert [len(averages()[name].tasks) for name in stem] == [19, 13, 12, 13]
    assert averages()["glue"].members == ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli")
    assert {"gsm8k", "crows_pairs", "winogender"} <= set(suite_tasks()), "tasks of no suite"


@pytest.mark.parametrize("name", sorted(suite_tasks()))
def test_every_task_is_whole(name: str) -> None:
    task = load_task(name, rows=False)
    assert task.name == name
    assert all((task.description, task.citation, task.licence))
    summaries_and_translations = (*library_suites()["summarisation"].tasks, *library_suites()["translation"].tasks)
    if name not in summaries_and_translations:
        assert task.joint is not None
        assert task.chance is not None or name == "record"  # it has as many choices as the article has names


def test_names_stand_for_their_tasks() -> None:
    assert [one.name for one in expand(["mnli", "topic"])] == ["mnli_matched", "mnli_mismatched", "topic"]
    assert [one.by_name for one in expand(["mnli", "mnli_matched"])] == [True, False]
    with pytest.raises(TaskError, match="Did you mean 'mmlu_anatomy'"):
        require_task("mmlu_anatomi")


def test_one_file_is_many_tasks(folder: Path) -> None:
    task = load_task(f"{folder}/suite/sums.yaml#plus", folder)
    first = load_examples(task, "test", evaluation=True)[0]
    assert (task.name, first.preamble, first.targets) == ("sums_plus", "Sums with plus.\n", ("2",))
    assert {item.prompt for item in load_examples(task, "test")} >= {"1 plus 1 =", "0 plus 2 ="}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sums.yaml", r"the file holds 2 tasks, one for each sign\n.*Name one: .*sums.yaml#plus"),
        ("sums.yaml#plu", "no sign is called 'plu'\n.*Did you mean 'plus'"),
        ("sums.yaml#times", "no sign is called 'times'"),
    ],
)
def test_a_file_of_many_tasks_wants_a_value(name: str, said: str, folder: Path) -> None:
    with pytest.raises(TaskError, match=said):
        load_task(f"{folder}/suite/{name}", folder)


def test_each_is_one_column_with_texts(folder: Path) -> None:
    path = folder / "suite" / "sums.yaml"
    wrong: tuple[Any, ...] = ({"sign": []}, {"sign": ["plus", "plus"]}, {"a": ["x"], "b": ["y"]}, "plus", {"sign": [1]})
    for each in wrong:
        path.write_text(yaml.safe_dump(MANY | {"each": each}))
        with pytest.raises(TaskError, match="each does not say one column with a list of texts"):
            load_task(f"{path}#plus", folder)


def test_missing_files_are_named_with_where_to_get_them(folder: Path) -> None:
    task = load_task(f"{folder}/suite/sums.yaml#minus", folder)
    with pytest.raises(DataError, match=r"no such file or folder\n.*Get it from https://example.org/sums") as caught:
        load_examples(task, "test")
    assert str(folder / "minus.jsonl") in str(caught.value)
    unnamed = load_task(f"{folder}/suite/sums.yaml#minus")
    with pytest.raises(DataError, match=r"original file minus.jsonl is needed.*\n.*--data DIR"):
        load_examples(unnamed, "test")


def test_a_file_outside_the_folder_is_refused(folder: Path) -> None:
    path = folder / "suite" / "sums.yaml"
    path.write_text(yaml.safe_dump(MANY | {"source": {"test": "data:../{{ sign }}.jsonl"}}))
    with pytest.raises(TaskError, match="leaves the folder of the original files"):
        load_task(f"{path}#plus", folder)


def test_a_translation_stands_in_a_file_of_its_own(shared_data: Path) -> None:
    task = load_task("multi30k_en-de", shared_data)
    found = load_examples(task, "test", evaluation=True)
    assert len(found) == 1000
    pairs = {one.prompt.split("English: ")[1].split("\n")[0]: one.targets[0] for one in found}
    assert (
        pairs["A man in an orange hat starring at something."]
        == "Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt."
    )


@pytest.mark.parametrize(("lines", "said"), [(2, "has 2 lines, fewer than"), (4, "has more lines than")])
def test_files_that_are_not_aligned(lines: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\nthree\n")
    (tmp_path / "b.txt").write_text("x\n" * lines)
    source = {"test": {"path": "a.txt", "format": "text", "aligned": {"other": "b.txt"}}}
    spec = {"name": "pairs", "source": source, "target": "{{ other }}", "metrics": ["bleu"]}
    (tmp_path / "t.yaml").write_text(
        yaml.safe_dump(spec | {"templates": [{"name": "p", "prompt": "{{ row['text'] }}"}]})
    )
    with pytest.raises(DataError, match=said):
        load_examples(load_task(str(tmp_path / "t.yaml")), "test")


def test_members_of_a_suite_without_rows_are_left_out(shared_data: Path, tmp_path: Path, capsys: Any) -> None:
    found = evaluate(settings(shared_data, "glue", runs=tmp_path, data={"test": 4}))
    assert [one.task.name for one in found] == ["cola", "sst2", "rte", "wnli"]
    said = capsys.readouterr().err
    assert "mrpc: left out:" in said
    assert "Get it from https://gluebenchmark.com/tasks" in said
    (macro, micro) = found.averages
    assert (macro.name, macro.over, macro.measured, macro.tasks) == ("glue", "macro", 4, 10)
    assert macro.value == pytest.approx(sum(one.scores[0].value for one in found) / 4)
    assert micro.n == 16


def test_a_task_asked_for_by_name_must_have_its_rows(tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match=r"MRPC/dev.tsv"):
        evaluate(settings(tmp_path, "mrpc"))
    with pytest.raises(LuthierError, match="no task of superglue has its rows here"):
        evaluate(settings(tmp_path, "superglue"))
    with pytest.raises(LuthierError, match=r"no folder is named\n.*--data DIR"):
        evaluate(settings(tmp_path, "superglue", data={"folder": None}))


def test_averages_are_of_the_suites_that_were_asked_for(folder: Path) -> None:
    one = evaluate(settings(folder, f"{folder}/suite/sums.yaml#plus"))
    assert one.averages == ()
    suite = read_suite(folder / "suite" / "suite.yaml")
    assert list(suite.tasks) == ["sums_plus", "sums_minus"]
    assert suite.averages["suite"].tasks == ("sums_plus", "sums_minus")


def test_a_suite_of_ones_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = measured = evaluate(settings(folder, f"{folder}/suite/suite.yaml"))
    assert found.task.name == "sums_plus"
    assert "minus.jsonl: no such file or folder" in capsys.readouterr().err
    (macro, _) = measured.averages
    assert (macro.name, macro.measured, macro.tasks) == ("suite", 1, 2)
    assert macro.value == found.scores[0].value


def test_a_suite_file_that_names_nothing(folder: Path) -> None:
    path = folder / "suite" / "suite.yaml"
    path.write_text("description: Sums.\nfiles: [sums.yaml]\ngroups: {odd: [sums_times]}\n")
    with pytest.raises(TaskError, match="'sums_times' is no task, file or earlier group of the suite"):
        read_suite(path)


def test_an_adapter_keeps_its_one_task(folder: Path, tmp_path: Path) -> None:
    task = load_task(f"{folder}/suite/sums.yaml#plus", folder)
    kept = tmp_path / "adapter"
    kept.mkdir()
    write_task(task, kept)
    again = task_of_adapter(kept)
    assert (again.name, again.constants, again.joint) == ("sums_plus", {"sign": "plus"}, task.joint)


def test_a_preamble_of_a_file_is_written_into_the_adapter(shared_data: Path, tmp_path: Path) -> None:
    task = load_task("bbh_dyck_languages", shared_data)
    assert task.preamble is not None
    assert task.preamble.render({}) == ("Correctly close a Dyck-n word.\n\n"), (
        "the text between the canary and the first exemplar"
    )
    write_task(task, tmp_path)
    again = task_of_adapter(tmp_path)
    assert again.preamble is not None
    assert again.preamble.render({}) == task.preamble.render({})
