"""A training that goes astray is an arm that failed, with its reason everywhere; the comparison goes on without it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import optuna
import pytest

from luthier.errors import DivergenceError, Faults
from luthier.experiments import search
from luthier.experiments.compare import compare
from luthier.results.records import read_costs, read_results
from luthier.training.outcome import ended_worse
from small_job import QUICK, Ran, comparison, luthier, write_job
from tiny_models import tiny_folder

TOO_FAST: dict[str, Any] = {"name": "fast", "method": "lora", "training": {"learning_rate": 1e38}}


FULL_TOO_FAST = TOO_FAST | {"name": "burnt", "method": "full"}
WORSE: dict[str, Any] = {
    "name": "worse",
    "method": "full",
    "training": {"learning_rate": 3.0, "warmup": 0, "steps": 10},
}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_job(tmp_path_factory.mktemp("job"))


def run(job: Path, out: Path, arms: list[Any], *flags: object) -> tuple[Ran, Path]:
    """Compare by the command line; return what it said, and the run's folder."""
    ran = luthier(
        *("compare", "-m", tiny_folder("llama"), "-t", job / "echo.yaml", "--set", f"arms={json.dumps(arms)}"),
        *("--retain", "none", "--retention-text", "none", "--runs", out, "--name", "run", *QUICK, *flags),
    )
    return ran, out / "run"


def shown_everywhere(words: str, ran: Ran, folder: Path) -> None:
    """Check that words stand in the terminal's captions, on the page and in its Markdown."""
    assert words in " ".join(ran.out.split())
    for page in ("report.html", "report.md"):
        assert words in (folder / page).read_text(), page


def test_a_trial_at_a_rate_of_1e38_fails_and_the_others_decide(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, asked = search._distributions, []

    def second_is_too_fast(space: Any) -> dict[str, optuna.distributions.BaseDistribution]:
        asked.append(space)
        rate = optuna.distributions.FloatDistribution(1e38, 1e38, log=True)
        return plain(space) | ({"learning_rate": rate} if len(asked) == 2 else {})

    monkeypatch.setattr(search, "_distributions", second_is_too_fast)
    ran, folder = run(job, tmp_path, ["zero_shot", "lora", TOO_FAST], "--search", 3)
    assert ran.code == 0, ran.err
    arm, all_failed = read_results(folder).arms[1:]
    assert arm.search is not None
    assert (arm.search.trials, arm.search.failed) == (3, 1)
    assert arm.search.chosen["learning_rate"] < 1, "the trial that failed has not won"
    (failure,) = arm.search.failures
    assert failure.startswith("trial 2 (learning_rate 1e+38, rank ")
    reason = failure.partition("): ")[2]
    assert "not finite" in reason
    assert f"trial 2 of 3, {failure[9:].partition(')')[0]}: failed ({reason})" in ran.err, "in the log of the run"
    assert f"failed: {failure}" in arm.notes
    shown_everywhere("3 trials (1 failed)", ran, folder)
    shown_everywhere(failure, ran, folder)
    # Of the arm whose every trial is too fast, nothing is known, and it is said why.
    says = "no trial came to an end: of 3, 3 failed, the first at learning_rate 1e+38, rank 8: "
    assert all_failed.failed.startswith(f"search: {says}")
    assert all_failed.scores == ()
    assert f"fast has failed, and the comparison goes on without it: arm 'fast', search: {says}" in ran.err
    shown_everywhere(all_failed.failed, ran, folder)
    monkeypatch.undo()
    ran, _ = run(job, tmp_path, [TOO_FAST], "--search", 3)
    assert ran.code == 2, "alone it leaves nothing to compare"
    assert says in ran.err
    assert "Lower the learning rate: --set training.learning_rate=RATE" in ran.err


def test_arms_that_diverge_are_failed_and_the_others_are_as_without_them(job: Path, tmp_path: Path) -> None:
    ran, folder = run(job, tmp_path / "with", ["zero_shot", TOO_FAST, FULL_TOO_FAST, "lora", WORSE])
    assert ran.code == 0, ran.err
    assert "fast has failed, and the comparison goes on without it: arm 'fast', step " in ran.err
    found = read_results(folder)
    without = read_results(_compare(job, tmp_path / "without", ["zero_shot", "lora", WORSE]))
    # The base is whole after a full tuning that failed, and nothing is corrected for what was not compared.
    assert [arm for arm in found.arms if not arm.failed] == list(without.arms)
    assert found.pairs == without.pairs
    fast, burnt = found.arms[1:3]
    assert "step " in fast.failed
    assert "not finite" in fast.failed
    for arm in (fast, burnt):
        assert arm.notes == (f"its training failed, and nothing was measured: {arm.failed}",)
        shown_everywhere(arm.notes[0], ran, folder)
    shown_everywhere("Nothing is known of fast and burnt: the training failed.", ran, folder)
    assert re.search(r"\n fast +failed ", ran.out)
    assert set(read_costs(folder).arms) == {"zero_shot", "lora", "worse"}
    # Training that ended worse than it began stands with its arm as well.
    (note,) = [note for note in found.arms[4].notes if "worse than it began" in note]
    assert note == ended_worse(folder / "curves" / "worse.jsonl")
    assert f"worse: training: {note}" in ran.err
    shown_everywhere(note, ran, folder)


def _compare(job: Path, out: Path, arms: list[Any], **changes: Any) -> Path:
    training = {"steps": 2, "batch_size": 4, "validations": 1}
    given = {"arms": arms, "retain": [], "retention_text": None, "training": training, **changes}
    return compare(comparison("llama", job, out, **given))


def test_what_has_failed_is_not_tried_again(job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arms, seeds = [TOO_FAST, "zero_shot"], [3, 4]
    first = read_results(_compare(job, tmp_path, arms, seeds=seeds)).arms
    assert first[0].failed.startswith("seed 3, step ")
    assert first[1].against_first is None, "there is nothing to hold it against"
    assert capsys.readouterr().err.count("fast, seed 3: training: ") > 0
    assert read_results(_compare(job, tmp_path, arms, seeds=seeds)).arms[0].failed == first[0].failed
    assert "training" not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("all_passes")
def test_it_has_failed_for_every_worker(job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arms = _compare(job, tmp_path, [TOO_FAST, "lora"], seeds=[0, 1], workers=2)
    assert "fast has failed, and the comparison goes on without it: " in capsys.readouterr().err
    found = read_results(arms).arms
    assert found[0].failed.startswith("seed ")
    assert found[1].scores


def test_where_every_arm_has_failed_there_is_no_comparison(job: Path, tmp_path: Path) -> None:
    arms = [TOO_FAST, TOO_FAST | {"name": "faster"}]
    with pytest.raises(Faults, match="the training of every arm has failed") as caught:
        _compare(job, tmp_path, arms)
    assert [fault.where.partition(",")[0] for fault in caught.value.faults] == ["arm 'fast'", "arm 'faster'"]
    assert all(isinstance(fault, DivergenceError) for fault in caught.value.faults)


def write_log(path: Path, losses: list[float]) -> Path:
    lines: list[dict[str, Any]] = [{"step": step, "loss": loss} for step, loss in enumerate(losses, 1)]
    lines.insert(5, {"step": 5, "validation_loss": 9.0, "validation_metric": "f1", "validation_score": 0.1})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_the_loss_at_the_end_is_held_against_that_at_the_beginning(tmp_path: Path) -> None:
    # A tenth of 20 steps is two: 2.0 at first, 2.5 at the end; what lies between does not count.
    worse = write_log(tmp_path / "worse.jsonl", [1.5, 2.5, *[1.0] * 16, 2.0, 3.0])
    assert ended_worse(worse) == (
        "training ended worse than it began (loss 2.000 at first, 2.500 at the end). "
        "Lower the learning rate: --set training.learning_rate=RATE, or train longer."
    )
    assert ended_worse(write_log(tmp_path / "better.jsonl", [3.0, 2.0, *[9.0] * 16, 2.5, 1.5])) == ""
    assert ended_worse(write_log(tmp_path / "equal.jsonl", [2.0] * 20)) == ""
    assert ended_worse(write_log(tmp_path / "short.jsonl", [1.0] * 6 + [9.0])) == "", "single batches say nothing"
