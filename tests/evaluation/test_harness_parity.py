"""Tasks of lm-eval on real files are as its own `simple_evaluate` has them with its ``hf`` model: `lm_eval_both`."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("lm_eval")

from lm_eval_both import Both, check, run_both
from lm_eval_local import write_tasks

CHOICES = [
    *("mmlu_anatomy", "mmlu_astronomy", "cola", "sst2", "boolq", "cb", "sglue_rte", "wic", "wsc"),
    *(
        "truthfulqa_mc1",
        "truthfulqa_mc2",
        "bbq",
        "crows_pairs_english",
        "winogender_all",
        "bigbench_navigate_multiple_choice",
    ),
]
WRITTEN = ["gsm8k", "bbh_fewshot_boolean_expressions", "bbh_cot_zeroshot_navigate", "bbh_cot_fewshot_ruin_names"]
MORE = [
    *("mmlu_abstract_algebra", "mmlu_high_school_world_history", "mmlu_moral_scenarios", "rte", "wnli"),
    *("bbq_ambig", "bbq_disambig", "bbq_generate", "winogender_gotcha", "winogender_female", "truthfulqa_gen"),
    *(
        "gsm8k_cot",
        "bbh_zeroshot_word_sorting",
        "bbh_fewshot_sports_understanding",
        "bbh_cot_fewshot_date_understanding",
    ),
    "bigbench_ruin_names_multiple_choice",
]


@pytest.fixture(scope="module")
def both(stories260k: Path, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Both:
    folder = tmp_path_factory.mktemp("both")
    names = [*CHOICES, *WRITTEN]
    write_tasks(names, 4, data=shared_data, folder=folder / "tasks")
    return run_both(names, folder / "tasks", stories260k, folder / "runs")


@pytest.mark.parametrize("name", [*CHOICES, *WRITTEN])
def test_as_their_own_evaluation(both: Both, name: str) -> None:
    check(both, name)


@pytest.mark.parametrize("name", ["sst2", "cola", "bbq", "gsm8k"])
def test_the_scores_are_theirs_where_the_answers_are(both: Both, name: str) -> None:
    """On these, right and wrong alone count, so that the scores themselves are equal."""
    theirs = both.theirs["results"][name]
    for score in both.ours[name].scores:
        key = score.metric if "," in score.metric else f"{score.metric},none"
        assert score.value == pytest.approx(theirs[key], abs=1e-12, nan_ok=True)


@pytest.mark.slow
def test_more_tasks_and_documents(stories260k: Path, shared_data: Path, tmp_path: Path) -> None:
    names = [*CHOICES, *WRITTEN, *MORE]
    write_tasks(names, 40, data=shared_data, folder=tmp_path / "tasks")
    found = run_both(names, tmp_path / "tasks", stories260k, tmp_path / "runs", new_tokens=32)
    for name in names:
        check(found, name)
