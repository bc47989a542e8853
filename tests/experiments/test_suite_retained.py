"""A suite among the retained tasks: each of its tasks that has rows, and its average."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.experiments.compare import compare
from luthier.report.tables import retention_table
from luthier.results.records import read_results
from small_job import comparison, write_job


def test_a_suite_is_retained(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = comparison(
        "llama",
        write_job(tmp_path / "job"),
        tmp_path / "runs",
        arms=["zero_shot", {"name": "lora", "method": "lora", "settings": {"rank": 4}}],
        retain=["glue"],
        retention_text=None,
        data={"folder": str(shared_data), "train": 8, "test": 4},
        evaluation={"resamples": 100, "retain_examples": 8},
    )
    run = compare(config)
    tuned = read_results(run).arms[1]
    *tasks, suite = tuned.retained
    assert {"cola", "sst2"} <= {item.task for item in tasks} <= {"cola", "sst2", "rte", "wnli"}
    assert (suite.task, suite.metric, suite.group) == ("glue", f"macro average of {len(tasks)} tasks", True)
    assert suite.change.value == pytest.approx(sum(item.change.value for item in tasks) / len(tasks))
    assert "mrpc: left out" in capsys.readouterr().err
    table = retention_table(read_results(run))
    assert table is not None
    assert table.rows[-1][0].main == "glue"
    assert table.rows[-1][0].below.startswith(f"macro average of {len(tasks)} tasks")
